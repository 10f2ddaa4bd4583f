//! HTTP/2 frames by hand (RFC 9113), right ones and wrong ones.

/// What a client sends first, with empty settings.
pub(crate) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A block of headers (RFC 7541, literals without indexing) for a call of `path`.
pub(crate) fn call(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // POST and https stand in the static table; the path is a literal under its name there.
    let mut block = vec![0x83, 0x87, 0x04];
    text(path, &mut block);
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(more) {
        block.push(0);
        text(name, &mut block);
        text(value, &mut block);
    }
    block
}

/// A length in seven bits and the bytes themselves.
pub(crate) fn text(text: &str, to: &mut Vec<u8>) {
    let mut length = text.len();
    if length < 127 {
        to.push(length as u8);
    } else {
        to.push(127);
        length -= 127;
        while length >= 128 {
            to.push((length % 128) as u8 | 128);
            length /= 128;
        }
        to.push(length as u8);
    }
    to.extend_from_slice(text.as_bytes());
}

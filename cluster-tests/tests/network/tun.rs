//! A TUN device: what the kernel sends through it is read from a file, what is written to the file it receives.

use std::fs::{File, OpenOptions};
use std::io;

/// `struct ifreq` as far as TUNSETIFF reads it: a name, flags, and the rest of the union.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Whole IP packets, without a header before them.
const TUN_WITHOUT_HEADER: u16 = 0x0001 | 0x1000;

/// Makes the device `name`, which is there as long as the file is open.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; 16], flags: TUN_WITHOUT_HEADER, rest: [0; 22] };
    // One byte stays for the closing zero.
    for (place, byte) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *place = byte;
    }
    name_device(&file, request)?;
    Ok(file)
}

#[allow(unsafe_code, reason = "a TUN device is named by an ioctl, and `ip` cannot hand over an open one")]
fn name_device(file: &File, request: InterfaceRequest) -> io::Result<()> {
    use rustix::ioctl::{Opcode, Updater, ioctl};
    /// TUNSETIFF: _IOW('T', 202, int), though it reads and writes a `struct ifreq`.
    const SET_INTERFACE: Opcode = 0x4004_54ca;
    let mut request = request;
    // SAFETY: the request reads and writes one `struct ifreq` of 40 bytes, which is what `InterfaceRequest` is.
    unsafe { Ok(ioctl(file, Updater::<SET_INTERFACE, InterfaceRequest>::new(&mut request))?) }
}

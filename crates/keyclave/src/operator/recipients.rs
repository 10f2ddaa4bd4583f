//! Shares for age recipients (C2SP age): each is encrypted on this machine, as soon as the node has answered, to the
//! public key of the person who is to hold it, so that nobody who sees the terminal sees a share.
//!
//! Called by [`super::init`]. Deliberately absent: decrypting (the holder does that with `age`) and recipients that are a
//! plug-in's or an SSH key.

use std::collections::BTreeMap;

use age::x25519::Recipient;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output;

/// One recipient for each share, in order.
pub(super) struct Recipients {
    all: Vec<Recipient>,
}

impl Recipients {
    /// Reads what was given on the command line; none if nothing was. Refused before anything is made, since shares are
    /// shown once.
    pub(super) fn parse(texts: &[String], shares: u8) -> Result<Option<Self>, Failure> {
        if texts.is_empty() {
            return Ok(None);
        }
        if texts.len() != usize::from(shares) {
            let wrong = format!("{} recipients for {shares} shares", texts.len());
            return Err(Failure::usage(wrong).next("give --recipient once for each share"));
        }
        let parse = |(at, text): (usize, &String)| {
            text.parse::<Recipient>().map_err(|why| {
                Failure::usage(format!("recipient {} is no age recipient: {why}", at + 1))
                    .next("give the public key that `age-keygen` prints, as age1…")
            })
        };
        let all = texts.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        for line in repeated(&all) {
            output::note(&format!("keyclave: {line}"));
        }
        let recipients = Self { all };
        // What cannot be encrypted must show before there are shares to lose.
        recipients.encrypt(&vec![Zeroizing::new(String::new()); usize::from(shares)])?;
        Ok(Some(recipients))
    }

    /// The recipients, as age prints them.
    pub(super) fn texts(&self) -> Vec<String> {
        self.all.iter().map(ToString::to_string).collect()
    }

    /// Each share in an armoured age file of its own.
    pub(super) fn encrypt(&self, shares: &[Zeroizing<String>]) -> Result<Vec<String>, Failure> {
        let each = self.all.iter().zip(shares).map(|(recipient, share)| {
            age::encrypt_and_armor(recipient, share.as_bytes())
                .map_err(|error| Failure::from_error("SHARE_ENCRYPTION", &error))
        });
        each.collect()
    }
}

/// Whoever gets more than one share, and which.
fn repeated(all: &[Recipient]) -> Vec<String> {
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (recipient, number) in all.iter().zip(1..) {
        by.entry(recipient.to_string()).or_default().push(format!("{number}"));
    }
    let more = by.into_iter().filter(|(_, numbers)| numbers.len() > 1);
    more.map(|(who, numbers)| {
        format!(
            "shares {} go to one recipient, {who}: whoever holds its key holds them all",
            numbers.join(", ")
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use age::x25519::Identity;

    use super::*;

    fn shares(count: u8) -> Vec<Zeroizing<String>> {
        (1..=count).map(|number| Zeroizing::new(format!("kcsh1-share-{number}"))).collect()
    }

    #[test]
    fn each_share_opens_with_its_own_recipients_identity_and_with_no_other() {
        let people: Vec<Identity> = (0..3).map(|_| Identity::generate()).collect();
        let texts: Vec<String> = people.iter().map(|person| person.to_public().to_string()).collect();
        let recipients = Recipients::parse(&texts, 3).unwrap().unwrap();
        assert_eq!(recipients.texts(), texts);
        let files = recipients.encrypt(&shares(3)).unwrap();
        assert_eq!(files.len(), 3);
        for (at, file) in files.iter().enumerate() {
            assert!(file.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"), "{file}");
            assert!(!file.contains("kcsh1"));
            for (person, identity) in people.iter().enumerate() {
                match age::decrypt(identity, file.as_bytes()) {
                    Ok(opened) => assert_eq!((person, opened), (at, shares(3)[at].as_bytes().to_vec())),
                    Err(_) => assert_ne!(person, at),
                }
            }
        }
    }

    #[test]
    fn too_few_too_many_and_what_is_no_recipient_is_refused_before_anything_is_made() {
        let one = Identity::generate().to_public().to_string();
        assert!(Recipients::parse(&[], 3).unwrap().is_none());
        for wrong in
            [vec![one.clone(); 2], vec![one.clone(); 4], vec![one.clone(), one, "age1nothing".to_owned()]]
        {
            assert_eq!(Recipients::parse(&wrong, 3).err().unwrap().status(), 2);
        }
    }

    #[test]
    fn whoever_gets_two_shares_is_named() {
        let [one, other] = [Identity::generate().to_public(), Identity::generate().to_public()];
        let lines = repeated(&[one.clone(), other, one.clone()]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("shares 1, 3") && lines[0].contains(&one.to_string()), "{lines:?}");
    }
}

//! Password hashes as mosquitto's password files have them.
//!
//! `$7$ITERATIONS$SALT$HASH` is PBKDF2 with HMAC-SHA-512, `$6$SALT$HASH` one SHA-512 over password and salt; salt and
//! hash in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha512};

/// How to hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `$6$`: fast to guess; only for programs that know nothing else.
    Sha512,
    /// `$7$` with so many iterations.
    Pbkdf2(u32),
}

/// The hash of a password with a fresh salt.
pub(super) fn hash(password: &[u8], scheme: Scheme) -> Result<String, getrandom::Error> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt)?;
    Ok(with_salt(password, &salt, scheme))
}

/// Whether a field of a file is a hash already.
pub(super) fn is_hash(field: &str) -> bool {
    let parts: Vec<&str> = field.split('$').collect();
    let base64 = |part: &&str| STANDARD.decode(part).is_ok();
    match parts.as_slice() {
        ["", "6", salt, hash] => base64(salt) && base64(hash),
        ["", "7", iterations, salt, hash] => {
            iterations.parse::<u32>().is_ok_and(|count| count > 0) && base64(salt) && base64(hash)
        }
        _ => false,
    }
}

fn with_salt(password: &[u8], salt: &[u8], scheme: Scheme) -> String {
    let salt_text = STANDARD.encode(salt);
    match scheme {
        Scheme::Sha512 => {
            let hash = Sha512::new()
                .chain_update(password)
                .chain_update(salt)
                .finalize();
            format!("$6${salt_text}${}", STANDARD.encode(hash))
        }
        Scheme::Pbkdf2(iterations) => {
            let mut hash = [0; 64];
            pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut hash);
            format!("$7${iterations}${salt_text}${}", STANDARD.encode(hash))
        }
    }
}

const SALT_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::{STANDARD, Scheme, hash, is_hash, with_salt};
    use base64::Engine as _;

    /// Lines that mosquitto_passwd 2.0.11 wrote.
    #[test]
    fn hashes_are_mosquittos() {
        let salt = |text| STANDARD.decode(text).unwrap();
        assert_eq!(
            with_salt(b"secret", &salt("96kYhUtM7/pboQji"), Scheme::Pbkdf2(101)),
            "$7$101$96kYhUtM7/pboQji$WLPx+4cRNnVIunnyUVrjeWNaRsxtGSxBlfJ7jmPnje+No02jW6XS3Jkif27/2uhYZC6GHh3403yWcW6kuT\
             uGsw=="
        );
        assert_eq!(
            with_salt(b"sec3", &salt("48pTsIDoVgHVaNAz"), Scheme::Sha512),
            "$6$48pTsIDoVgHVaNAz$NvJgJuZv7GgS2/Z57zvRv43DQE2HNCwOxTIJ3VkTplgUXZ+Xnvz4izqTLJhCSboSV7a+vztTRC4mcXFf7m3pIA=="
        );
    }

    #[test]
    fn salts_differ_and_hashes_are_known_as_such() {
        let one = hash(b"x", Scheme::Pbkdf2(5)).unwrap();
        assert_ne!(one, hash(b"x", Scheme::Pbkdf2(5)).unwrap());
        assert!(is_hash(&one) && is_hash(&hash(b"x", Scheme::Sha512).unwrap()));
        for plain in ["secret", "$7$", "$7$0$aa$bb", "$6$a", "$5$aaaa$bbbb"] {
            assert!(!is_hash(plain), "{plain}");
        }
    }
}

//! Tokens: who may ask, and until when.
//!
//! A file names them, one a line: a name, the SHA-256 of the token as 64 hexadecimal digits, and the
//! time at which it ends, if it does. So the file does not give a token away, and as what is compared is
//! a digest, in constant time, neither does the time that a refusal takes. The file is read once, at the
//! start; nothing here is touched by messages other than the one that shows a token.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The tokens that are known.
#[derive(Debug, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Debug)]
struct Token {
    name: String,
    digest: [u8; DIGEST_BYTES],
    until_ns: u64,
}

/// What a token that was shown is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// Whose it is.
    pub name: &'a str,
    /// When it ends, in nanoseconds since the Unix epoch; [`FOR_EVER`]: never.
    pub until_ns: u64,
}

impl Tokens {
    /// Reads a file of tokens.
    ///
    /// # Errors
    ///
    /// [`TokensError`]: it cannot be read, or a line of it is no token.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let failed = |fault| TokensError { path: path.to_owned(), fault };
        let text = std::fs::read_to_string(path).map_err(|error| failed(Fault::Read(error)))?;
        Self::parse(&text).map_err(|line| failed(Fault::Line(line)))
    }

    /// What `token` is good for at a time, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn grant(&self, token: &str, now_ns: u64) -> Option<Grant<'_>> {
        let shown: [u8; DIGEST_BYTES] = Sha256::digest(token).into();
        // All are looked at, whichever it is.
        let known = self.0.iter().fold(None, |found, known| {
            if shown.ct_eq(&known.digest).into() { Some(known) } else { found }
        });
        let known = known.filter(|known| now_ns < known.until_ns)?;
        Some(Grant { name: &known.name, until_ns: known.until_ns })
    }

    /// The number of the first line that is no token, if there is one.
    fn parse(text: &str) -> Result<Self, usize> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        lines.map(|(number, line)| token(line).ok_or(number)).collect::<Result<_, _>>().map(Self)
    }
}

fn token(line: &str) -> Option<Token> {
    let mut words = line.split_whitespace();
    let (name, digest) = (words.next()?.to_owned(), digest(words.next()?)?);
    let until_ns = match words.next() {
        None => FOR_EVER,
        Some(time) => {
            let time = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
            u64::try_from(time.as_nanos()).ok()?
        }
    };
    words.next().is_none().then_some(Token { name, digest, until_ns })
}

fn digest(hexadecimal: &str) -> Option<[u8; DIGEST_BYTES]> {
    let is_whole = hexadecimal.len() == 2 * DIGEST_BYTES
        && hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut digest = [0; DIGEST_BYTES];
    for (place, byte) in digest.iter_mut().enumerate().take_while(|_| is_whole) {
        *byte = u8::from_str_radix(&hexadecimal[2 * place..][..2], 16).ok()?;
    }
    is_whole.then_some(digest)
}

/// Why tokens cannot be used.
#[derive(Debug)]
pub struct TokensError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    Read(io::Error),
    Line(usize),
}

impl fmt::Display for TokensError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::Read(error) => write!(formatter, "tokens cannot be read from {path}: {error}"),
            Fault::Line(number) => write!(
                formatter,
                "line {number} of {path} is no token: write a name, the SHA-256 of the token as 64 \
                 hexadecimal digits, and perhaps its end, such as 2027-01-01T00:00:00Z"
            ),
        }
    }
}

impl std::error::Error for TokensError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Read(error) => Some(error),
            Fault::Line(_) => None,
        }
    }
}

/// The end of what does not end.
pub const FOR_EVER: u64 = u64::MAX;

const DIGEST_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf sesame | sha256sum`, and the same of `open`.
    const SESAME: &str = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
    const OPEN: &str = "2348f998744212575d85959674f9607ab26f67708a917157472832386337c904";

    #[test]
    fn a_token_is_good_until_its_end() {
        let text = format!("# ours\n\n desk-7  {SESAME} 2027-01-01T00:00:00Z\nfloor {OPEN}\n");
        let tokens = Tokens::parse(&text).unwrap();
        let until_ns = 1_798_761_600_000_000_000;
        let grant = Grant { name: "desk-7", until_ns };
        assert_eq!(tokens.grant("sesame", until_ns - 1), Some(grant));
        assert_eq!(tokens.grant("sesame", until_ns), None);
        for unknown in ["", "Sesame", "sesame ", SESAME] {
            assert_eq!(tokens.grant(unknown, 0), None, "{unknown}");
        }
    }

    #[test]
    fn a_token_without_an_end_is_good_for_ever() {
        let tokens = Tokens::parse(&format!("floor {}", SESAME.to_uppercase())).unwrap();
        let grant = Grant { name: "floor", until_ns: FOR_EVER };
        assert_eq!(tokens.grant("sesame", FOR_EVER - 1), Some(grant));
        assert_eq!(Tokens::default().grant("sesame", 0), None);
    }

    #[test]
    fn a_line_that_is_no_token_is_named() {
        let short = &SESAME[1..];
        for line in [
            "floor".to_owned(),
            format!("floor {short}"),
            format!("floor {short}g"),
            format!("floor {short}é"),
            format!("floor {SESAME} tomorrow"),
            format!("floor {SESAME} 1969-01-01T00:00:00Z"),
            format!("floor {SESAME} 2027-01-01T00:00:00Z more"),
        ] {
            let text = format!("# a comment\nfloor {SESAME}\n{line}\n");
            assert_eq!(Tokens::parse(&text).err(), Some(3), "{line}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        assert!(Tokens::read(&path).unwrap_err().to_string().contains("tokens"));
        std::fs::write(&path, "floor 12\n").unwrap();
        assert!(Tokens::read(&path).unwrap_err().to_string().starts_with("line 1 of "));
        std::fs::write(&path, format!("floor {SESAME}")).unwrap();
        assert!(Tokens::read(&path).is_ok());
    }
}

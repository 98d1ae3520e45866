//! Users by the lines of an htpasswd file.

use std::collections::HashSet;
use std::pin::Pin;

use teleflow::receiver::auth::{
    Authenticator, Credential, Decision, Htpasswd, Passwords, Unverified,
};

/// The forms of hashes that are known to be broken, or are not supported.
const OTHER_HASHES: [&str; 6] = ["$apr1$", "$1$", "$5$", "$6$", "{SHA}", "{SSHA}"];

/// Names with passwords: hashed by bcrypt, or, as the Collector has it, as they are.
#[derive(Debug)]
pub(super) struct Users {
    /// `None` where there is none: then no hash has to be computed for those who are nobody.
    hashed: Option<Htpasswd>,
    plain: Passwords,
}

// === impl Users ===

impl Users {
    /// Reads the lines, or says what is wrong with which one, without what is in it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut hashed, mut plain, mut names) = (String::new(), Vec::new(), HashSet::new());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            // As many lines as there are, so that the other parser counts alike.
            let mut hashed_line = "";
            if !line.is_empty() && !line.starts_with('#') {
                let fail = |problem| Err(format!("line {} {problem}", number + 1));
                let Some((user, password)) = line.split_once(':') else {
                    return fail("has no colon");
                };
                if !names.insert(user) {
                    return fail("has a name that was there before");
                }
                if password.is_empty() {
                    return fail("has no password");
                }
                if password.starts_with("$2") {
                    hashed_line = line;
                } else if OTHER_HASHES.iter().any(|form| password.starts_with(form)) {
                    return fail("has a hash that is not bcrypt ($2y$)");
                } else {
                    plain.push((user, password));
                }
            }
            hashed.push_str(hashed_line);
            hashed.push('\n');
        }
        if names.is_empty() {
            return Err("there is no user in it".to_owned());
        }
        let hashed = match names.len() > plain.len() {
            true => Some(Htpasswd::parse(&hashed).map_err(|error| error.to_string())?),
            false => None,
        };
        Ok(Self { hashed, plain: Passwords::new(plain) })
    }
}

impl Authenticator for Users {
    /// Whose password is not hashed is let in early. Whoever is not costs the same, by whatever name.
    fn verify<'a>(
        &'a self,
        credential: &'a Credential,
    ) -> Pin<Box<dyn Future<Output = Result<Decision, Unverified>> + Send + 'a>> {
        Box::pin(async move {
            match (self.plain.verify(credential).await?, &self.hashed) {
                (Decision::Unknown, Some(hashed)) => hashed.verify(credential).await,
                (decision, _) => Ok(decision),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use teleflow::receiver::auth::{Identity, Secret};

    use super::*;

    /// Of `U*U`: a vector of bcrypt's own tests.
    const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    #[tokio::test]
    async fn a_password_is_right_for_its_name_alone_hashed_or_not() {
        let users = Users::parse(&format!("# users\n\nann:{HASH}\nbob:pa:ss\n")).unwrap();
        for (user, password, is_known) in [
            ("ann", "U*U", true),
            ("bob", "pa:ss", true),
            ("ann", "pa:ss", false),
            ("bob", "U*U", false),
            ("ann", HASH, false),
            ("eve", "U*U", false),
            ("bob", "", false),
        ] {
            let password = Secret::new(password.as_bytes());
            let credential = Credential::Password { user: user.to_owned(), password };
            let expected =
                if is_known { Decision::Known(Identity::new(user)) } else { Decision::Unknown };
            assert_eq!(users.verify(&credential).await.unwrap(), expected, "{user}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_without_what_is_in_it() {
        for (text, says) in [
            ("", "there is no user in it"),
            ("# nobody\n", "there is no user in it"),
            ("hunter2", "line 1 has no colon"),
            ("\nann:", "line 2 has no password"),
            ("ann:a\nann:b", "line 2 has a name that was there before"),
            ("ann:$apr1$hunter2", "line 1 has a hash that is not bcrypt ($2y$)"),
            ("bob:x\nann:$2hunter2", "line 2 has a hash that is not bcrypt ($2y$)"),
        ] {
            assert_eq!(Users::parse(text).unwrap_err(), says);
        }
    }
}

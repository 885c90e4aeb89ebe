use std::error::Error;
use std::fmt;

/// Why a request is not let in: always a 401. Says nothing of what a token or key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// There is no bearer token.
    Missing,
    /// The token cannot be read; the sentence says which part of it.
    Malformed(&'static str),
    /// The token's `alg` is not one that this server, or the key it names, takes.
    Algorithm,
    /// No key of the key set is the one that the token names.
    KeyUnknown,
    /// The signature is not that of the key.
    Signature,
    /// `exp` has passed.
    Expired,
    /// `nbf` has not come yet.
    NotYetValid,
    /// `iss` is not the configured issuer.
    Issuer,
    /// `aud` does not have the configured audience.
    Audience,
    /// No role of the token administers.
    Role,
    /// The API key is mistyped, unknown, revoked or has expired: which, is not told.
    Key,
    /// There are two: a token and an API key, or two keys.
    Several,
    /// There is W3Block's id and secret alone.
    IdAndSecret,
}

impl AuthError {
    /// A stable word for programs: the `code` of the answer.
    pub fn code(self) -> &'static str {
        match self {
            AuthError::Missing | AuthError::IdAndSecret => "token_missing",
            AuthError::Key => "api_key_invalid",
            AuthError::Several => "several_credentials",
            AuthError::Malformed(_) => "token_malformed",
            AuthError::Algorithm => "token_algorithm",
            AuthError::KeyUnknown => "token_key",
            AuthError::Signature => "token_signature",
            AuthError::Expired => "token_expired",
            AuthError::NotYetValid => "token_not_yet_valid",
            AuthError::Issuer => "token_issuer",
            AuthError::Audience => "token_audience",
            AuthError::Role => "token_role",
        }
    }

    /// One sentence for people: the `message` of the answer. Also what `Display` shows.
    pub fn message(self) -> &'static str {
        match self {
            AuthError::Missing => {
                "Send a token or an API key in the header `Authorization: Bearer …`."
            }
            AuthError::Key => "The API key is not valid.",
            AuthError::Several => {
                "Send one of them: an `Authorization` header, or one `x-w3block-api-key`."
            }
            AuthError::IdAndSecret => {
                "`x-w3block-id` and `x-w3block-secret` are not accepted; send a token in the header \
                 `Authorization: Bearer …`, or an API key there or in `x-w3block-api-key`."
            }
            AuthError::Malformed(what) => what,
            AuthError::Algorithm => "The token is signed with an algorithm that is not accepted.",
            AuthError::KeyUnknown => "The token is signed with a key that is not known here.",
            AuthError::Signature => "The token's signature is wrong.",
            AuthError::Expired => "The token has expired.",
            AuthError::NotYetValid => "The token is not valid yet.",
            AuthError::Issuer => "The token's `iss` is not the issuer this server trusts.",
            AuthError::Audience => "The token's `aud` does not name this server.",
            AuthError::Role => {
                "The token's `roles` need one of administrator, admin, superAdmin, integration."
            }
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl Error for AuthError {}

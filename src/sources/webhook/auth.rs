//! Who may send: a shared secret in the header, or a signature over the body. Every comparison takes constant time.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Refusal;
use crate::config::WebhookAuth;
use crate::model::Timestamp;

/// What can be checked without the body.
pub(super) fn before_body(auth: &WebhookAuth, headers: &HeaderMap) -> Result<(), Refusal> {
    match auth {
        WebhookAuth::Bearer(secret) => {
            let given = text(headers, header::AUTHORIZATION.as_str())?;
            let given = without_prefix(given, "bearer ");
            if given.as_bytes().ct_eq(secret.expose().as_bytes()).into() {
                Ok(())
            } else {
                Err(denied("the secret in `authorization` is wrong"))
            }
        }
        WebhookAuth::Hmac { header, .. } => text(headers, header).map(|_| ()),
    }
}

/// What needs the body.
pub(super) fn with_body(
    auth: &WebhookAuth,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Refusal> {
    let WebhookAuth::Hmac {
        secret,
        header,
        timestamp_header,
        tolerance,
    } = auth
    else {
        return Ok(());
    };
    let signature = without_prefix(text(headers, header)?, "sha256=");
    let signature = hex(signature).ok_or_else(|| {
        denied(format!("`{header}` is not a signature: 64 hex digits, `sha256=` before them or not"))
    })?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .map_err(|_| denied("this source has no usable secret"))?;
    if let Some(name) = timestamp_header {
        let timestamp = text(headers, name)?;
        check_age(timestamp, *tolerance, now)?;
        mac.update(timestamp.as_bytes());
        mac.update(b".");
    }
    mac.update(body);
    mac.verify_slice(&signature)
        .map_err(|_| denied(format!("the signature in `{header}` does not fit the body")))
}

/// An old request that is sent again carries an old time stamp, which is part of what was signed.
fn check_age(timestamp: &str, tolerance: Duration, now: Timestamp) -> Result<(), Refusal> {
    let sent: Option<Timestamp> = match timestamp.parse::<i64>() {
        // Seconds end in the year 5138 at eleven digits; milliseconds have had thirteen since 2001.
        Ok(number) if number > 99_999_999_999 => Timestamp::from_millisecond(number).ok(),
        Ok(number) => Timestamp::from_second(number).ok(),
        Err(_) => timestamp.parse().ok(),
    };
    let sent = sent.ok_or_else(|| denied("the time stamp is neither Unix time nor RFC 3339"))?;
    if now.duration_since(sent).unsigned_abs() > tolerance {
        return Err(denied(format!(
            "the time stamp is more than {} s from this server's time; a clock is off, or this is a repeat",
            tolerance.as_secs()
        )));
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value
        .map(str::trim)
        .ok_or_else(|| denied(format!("header `{name}` is missing")))
}

fn without_prefix<'a>(text: &'a str, prefix: &str) -> &'a str {
    match text.split_at_checked(prefix.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(prefix) => rest.trim_start(),
        _ => text,
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

fn denied(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn bearer(authorization: &str) -> Result<(), String> {
        let auth = WebhookAuth::Bearer(Secret::new("s3cret"));
        before_body(&auth, &headers(&[("authorization", authorization)])).map_err(|it| it.message)
    }

    fn signed(timestamp: bool, pairs: &[(&'static str, &str)], now: i64) -> Result<(), String> {
        let auth = WebhookAuth::Hmac {
            secret: Secret::new("key"),
            header: "x-signature".into(),
            timestamp_header: timestamp.then(|| "x-time".into()),
            tolerance: Duration::from_mins(5),
        };
        let headers = headers(pairs);
        let now = Timestamp::from_second(now).unwrap();
        before_body(&auth, &headers)
            .and_then(|()| with_body(&auth, &headers, b"{\"a\":1}", now))
            .map_err(|refusal| refusal.message)
    }

    /// `printf '{"a":1}' | openssl dgst -sha256 -hmac key`
    const SIGNATURE: &str = "88a67f24bbcdaed0e6c997404bb79a743baf44c6bab2f4c27328e3009d22e342";
    /// `printf '1000.{"a":1}' | openssl dgst -sha256 -hmac key`
    const SIGNATURE_AT_1000: &str = "703e95d4ed8aa99f3cf59728e8680a5aef1eb7fb7c4e4c827051b950902ca353";

    #[test]
    fn a_bearer_secret_may_come_bare() {
        assert_eq!(bearer("Bearer s3cret"), Ok(()));
        assert_eq!(bearer("s3cret"), Ok(()));
        assert!(bearer("Bearer s3creT").is_err());
        assert!(bearer("Bearer s3cret2").is_err());
        assert!(bearer("").is_err());
    }

    #[test]
    fn a_signature_may_have_its_prefix_and_any_case() {
        assert_eq!(signed(false, &[("x-signature", SIGNATURE)], 0), Ok(()));
        let prefixed = format!("sha256={}", SIGNATURE.to_uppercase());
        assert_eq!(signed(false, &[("x-signature", &prefixed)], 0), Ok(()));
        assert!(signed(false, &[("x-signature", SIGNATURE_AT_1000)], 0).is_err());
        for no_signature in ["", "zz", "abc", "sha256="] {
            assert!(signed(false, &[("x-signature", no_signature)], 0).is_err());
        }
        assert_eq!(signed(false, &[], 0), Err("header `x-signature` is missing".into()));
    }

    #[test]
    fn a_time_stamp_is_signed_too_and_must_be_recent() {
        let pairs = [("x-signature", SIGNATURE_AT_1000), ("x-time", "1000")];
        assert_eq!(signed(true, &pairs, 1300), Ok(()));
        assert_eq!(signed(true, &pairs, 700), Ok(()));
        assert!(signed(true, &pairs, 1301).unwrap_err().contains("more than 300 s"));
        let moved = [("x-signature", SIGNATURE_AT_1000), ("x-time", "1001")];
        assert!(signed(true, &moved, 1000).is_err());
    }

    #[test]
    fn time_stamps_in_milliseconds_and_rfc_3339_are_understood() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let tolerance = Duration::from_secs(1);
        for sent in ["1700000000", "1700000000000", "2023-11-14T22:13:20Z"] {
            assert!(check_age(sent, tolerance, now).is_ok(), "{sent}");
        }
        assert!(check_age("yesterday", tolerance, now).is_err());
    }
}

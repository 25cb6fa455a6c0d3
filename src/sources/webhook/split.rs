//! From a body to records: one object, an array of them, or one after the other (JSON lines). Pure.
//!
//! The records keep the bytes that were sent; only their borders are looked for.

use axum::http::StatusCode;
use serde_json::value::RawValue;

use super::Refusal;
use crate::model::limits;

pub(super) fn records(body: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut records = Vec::new();
    for value in serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>() {
        let value = value.map_err(|error| unreadable(&error))?.get();
        match value.as_bytes().first() {
            Some(b'[') => {
                let elements: Vec<&RawValue> =
                    serde_json::from_str(value).map_err(|error| unreadable(&error))?;
                elements
                    .into_iter()
                    .try_for_each(|element| add(&mut records, element.get()))?;
            }
            _ => add(&mut records, value)?,
        }
    }
    if records.is_empty() {
        return Err(bad("the body holds no record".into()));
    }
    Ok(records)
}

fn add(records: &mut Vec<Vec<u8>>, record: &str) -> Result<(), Refusal> {
    if !record.starts_with('{') {
        let number = records.len() + 1;
        return Err(bad(format!("record {number} is not a JSON object")));
    }
    if records.len() >= limits::WEBHOOK_RECORDS_MAX {
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "more than {} records at once; send fewer",
                limits::WEBHOOK_RECORDS_MAX
            ),
        ));
    }
    records.push(record.as_bytes().to_vec());
    Ok(())
}

fn unreadable(error: &serde_json::Error) -> Refusal {
    bad(format!(
        "the body is not JSON (one object, an array, or JSON lines): {error}"
    ))
}

fn bad(message: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str) -> Result<Vec<String>, String> {
        let records = records(body.as_bytes()).map_err(|refusal| refusal.message)?;
        Ok(records
            .into_iter()
            .map(|record| String::from_utf8(record).unwrap())
            .collect())
    }

    #[test]
    fn every_form_gives_the_records_as_they_were_sent() {
        assert_eq!(split(r#"{"a": 1}"#).unwrap(), [r#"{"a": 1}"#]);
        assert_eq!(split(r#"[{"a":1}, {"b":[2]}]"#).unwrap(), [r#"{"a":1}"#, r#"{"b":[2]}"#]);
        assert_eq!(split("{\"a\":1}\n\n{\"b\":2}\r\n").unwrap(), [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(split("\u{feff}{\n \"a\": 1\n}\n").unwrap(), ["{\n \"a\": 1\n}"]);
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        insta::assert_snapshot!(split("{\"a\":1}\n{\"b\":").unwrap_err(), @"the body is not JSON (one object, an array, or JSON lines): EOF while parsing a value at line 2 column 5");
        insta::assert_snapshot!(split("type=REFRESH_TOKEN").unwrap_err(), @"the body is not JSON (one object, an array, or JSON lines): expected ident at line 1 column 2");
        insta::assert_snapshot!(split("[{}, 7]").unwrap_err(), @"record 2 is not a JSON object");
        insta::assert_snapshot!(split(" ").unwrap_err(), @"the body holds no record");
        insta::assert_snapshot!(split("[]").unwrap_err(), @"the body holds no record");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        assert!(records(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn the_number_of_records_is_bounded() {
        let at_most = "{}".repeat(limits::WEBHOOK_RECORDS_MAX);
        assert_eq!(split(&at_most).unwrap().len(), limits::WEBHOOK_RECORDS_MAX);
        let refusal = records(format!("{at_most}{{}}").as_bytes()).unwrap_err();
        assert_eq!(refusal.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

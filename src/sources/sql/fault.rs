//! What can go wrong with a database: what waiting mends, and what it does not.
//!
//! The driver's own error text is passed on (it holds no password), with the part of the configuration it is about.

use sqlx::Error;
use sqlx::error::DatabaseError;

/// Why reading did not work.
#[derive(Debug)]
pub(super) enum Fault {
    /// Tried again with backoff: server down, password being changed, statement cancelled.
    Waiting(String),
    /// A person must change something: a missing table or column, a missing privilege.
    Lasting(String),
}

/// Codes that no waiting mends. PostgreSQL: undefined table, column, function, schema; syntax; privilege; type.
/// MySQL: syntax, no such table or column, table and column privilege.
const LASTING: [&str; 16] = [
    "42P01", "42703", "42883", "3F000", "42601", "42501", "42804", "22P02", "1064", "1146", "1054",
    "1142", "1143", "1305", "1140", "1060",
];

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match &error {
            Error::Database(database) => of_database(database.as_ref()),
            Error::Configuration(_) => Self::Lasting(
                "the url cannot be read: expected postgres://USER:PASSWORD@HOST/DATABASE, mysql://... or sqlite://FILE"
                    .into(),
            ),
            Error::ColumnNotFound(column) => Self::Lasting(format!("there is no column {column}")),
            Error::ColumnDecode { index, source } => {
                Self::Lasting(format!("column {index} cannot be read: {source}"))
            }
            other => Self::Waiting(format!("the database cannot be reached: {other}")),
        }
    }
}

fn of_database(error: &dyn DatabaseError) -> Fault {
    let code = number(error);
    let text = error.message();
    let lasting = LASTING.contains(&code.as_str())
        || text.starts_with("no such table")
        || text.starts_with("no such column");
    let text = match hint(&code, text) {
        Some(hint) => format!("{text} ({code}); {hint}"),
        None => format!("{text} ({code})"),
    };
    if lasting {
        Fault::Lasting(text)
    } else {
        Fault::Waiting(text)
    }
}

/// MySQL's own number where there is one (its SQL states are too coarse), else the SQL state or SQLite's code.
fn number(error: &dyn DatabaseError) -> String {
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return mysql.number().to_string();
    }
    error.code().unwrap_or_default().into_owned()
}

fn hint(code: &str, text: &str) -> Option<&'static str> {
    Some(match code {
        "1045" => {
            "wrong user or password, or the account has REQUIRE SSL and the connection is plain: add ?ssl-mode=REQUIRED to the url"
        }
        "42501" | "1142" | "1143" => "grant SELECT on it to the account of this source",
        "57014" | "3024" | "1969" => {
            "the statement took longer than statement_timeout: is there an index on the cursor column?"
        }
        "28P01" => "wrong password, or there is no such user",
        "28000" if text.contains("no encryption") => {
            "the server wants TLS: add ?sslmode=require to the url"
        }
        "14" => "the file is missing, or this process may not read it and its folder",
        _ => return None,
    })
}

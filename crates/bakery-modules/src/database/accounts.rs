//! What servers of MySQL and MariaDB say of an account besides its privileges.

use bakery_lang::{Map, Value};

use super::mysql::{Refused, Session};

/// What an account needs of the encryption, `{SSL: null}`, `{X509: null}` or its particulars by `CIPHER`, `ISSUER` and
/// `SUBJECT`; empty if nothing.
///
/// # Errors
/// What the server says.
pub fn tls_requirements(server: &mut Session, user: &str, host: &str) -> Result<Map, Refused> {
    let map = Map::new();
    if server.is_mariadb() {
        let query = "SELECT ssl_type, ssl_cipher, x509_issuer, x509_subject FROM mysql.user WHERE User = %s AND Host = %s";
        let row = server.with(query, &[user, host])?.rows.into_iter().next().unwrap_or_default();
        let text = |at: usize| row.get(at).map(ToString::to_string).unwrap_or_default();
        match text(0).as_str() {
            "ANY" => map.set("SSL", Value::None),
            "X509" => map.set("X509", Value::None),
            _ => {}
        }
        for (at, key) in ["CIPHER", "ISSUER", "SUBJECT"].into_iter().enumerate() {
            if !text(at + 1).is_empty() {
                map.set(key, text(at + 1));
            }
        }
        return Ok(map);
    }
    let query = if server.knows_grants_only() { "SHOW GRANTS for %s@%s" } else { "SHOW CREATE USER %s@%s" };
    let told = server.with(query, &[user, host])?.first().map(ToString::to_string).unwrap_or_default();
    let clause = told.split_once(" REQUIRE ").map_or("", |(_, rest)| rest.trim());
    let clause = clause.split(" PASSWORD ").next().unwrap_or_default();
    let words = crate::modules::command::split_line(clause).unwrap_or_default();
    match words.first().map(String::as_str) {
        None | Some("NONE") => {}
        Some(word @ ("SSL" | "X509")) => map.set(word, Value::None),
        Some(_) => {
            for pair in words.chunks_exact(2) {
                map.set(&pair[0], pair[1].as_str());
            }
        }
    }
    Ok(map)
}

/// The limits of an account by their names, `MAX_QUERIES_PER_HOUR` and so on; nothing if there is no such account.
///
/// # Errors
/// What the server says.
pub fn resource_limits(server: &mut Session, user: &str, host: &str) -> Result<Option<Map>, Refused> {
    let more = if server.is_mariadb() { ", max_statement_time AS MAX_STATEMENT_TIME" } else { "" };
    let query = format!(
        "SELECT max_questions AS MAX_QUERIES_PER_HOUR, max_updates AS MAX_UPDATES_PER_HOUR, max_connections AS MAX_CONNECTIONS_PER_HOUR, max_user_connections AS MAX_USER_CONNECTIONS{more} FROM mysql.user WHERE User = %s AND Host = %s"
    );
    Ok(server.with(&query, &[user, host])?.first_row())
}

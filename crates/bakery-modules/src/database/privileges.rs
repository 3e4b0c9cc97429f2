//! Privileges of MySQL and MariaDB as people write them and as the server tells them (community.mysql
//! `module_utils/user.py`).

use std::sync::LazyLock;

use fancy_regex::Regex;
use indexmap::IndexMap;

use super::mysql::Session;
use crate::Failure;

/// What is allowed, by database and table as the server quotes them.
pub type Privileges = IndexMap<String, Vec<String>>;

/// Reads `db.table:SELECT,INSERT/other.*:ALL`. Columns keep their case only if that is asked for.
///
/// # Errors
/// When an item has no colon.
pub fn unpack(
    text: &str,
    ansi: bool,
    columns_have_case: bool,
    ensure_usage: bool,
) -> Result<Privileges, Failure> {
    let quote = if ansi { '"' } else { '`' };
    let mut all = Privileges::new();
    for item in text.trim().split('/') {
        let Some((object, privileges)) = item.trim().rsplit_once(':') else {
            return Err(Failure::new(format!("invalid privileges string: {item}")));
        };
        let mut sides: Vec<String> = match object.rsplit_once('.') {
            Some((left, right)) => vec![left.into(), right.into()],
            None => vec![object.into()],
        };
        let mut kind = String::new();
        if let Some((first, rest)) = sides[0].clone().split_once(' ')
            && matches!(first, "FUNCTION" | "PROCEDURE")
        {
            kind = format!("{first} ");
            sides[0] = rest.to_owned();
        }
        for side in &mut sides {
            let bare = side.trim_matches('`');
            if bare != "*" {
                *side = format!("{quote}{bare}{quote}");
            }
        }
        let upper = || privileges.to_uppercase();
        let list = if privileges.contains('(') {
            let text = if columns_have_case { privileges.to_owned() } else { upper() };
            outside_parentheses(&text)
        } else {
            upper().split(',').map(str::to_owned).collect()
        };
        all.insert(kind + &sides.join("."), with_sorted_columns(list));
    }
    if ensure_usage && !all.contains_key("*.*") {
        all.insert("*.*".into(), vec!["USAGE".into()]);
    }
    Ok(all)
}

/// Splits at commas that are in no parentheses, and drops the white space after them.
fn outside_parentheses(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(item) = items.last_mut()
            && !(item.is_empty() && c.is_whitespace())
        {
            item.push(c);
        }
    }
    items
}

/// Brings `SELECT (b, a)` into one item with its columns in order, if a list was split at every comma.
fn with_sorted_columns(mut list: Vec<String>) -> Vec<String> {
    for verb in ["SELECT", "UPDATE", "INSERT", "REFERENCES"] {
        let opens = |item: &String| item.contains(&format!("{verb} ("));
        let Some(start) = list.iter().rposition(opens).and_then(|_| list.iter().position(opens)) else {
            continue;
        };
        let Some(length) = list[start..].iter().position(|item| item.contains(')')) else { continue };
        let joined = list[start..=start + length].join(", ");
        let Some((head, columns)) = joined.split_once('(') else { continue };
        let mut columns: Vec<&str> =
            columns.trim_end_matches(')').split(',').map(|c| c.trim().trim_matches('`')).collect();
        columns.sort_unstable();
        let sorted = format!("{head}({})", columns.join(", "));
        list.splice(start..=start + length, [sorted]);
    }
    list
}

/// What an account has, as `SHOW GRANTS` tells it.
///
/// # Errors
/// For a grant that cannot be read, and what the server says.
pub fn of_account(server: &mut Session, user: &str, host: &str) -> Result<Privileges, Failure> {
    static GRANT: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"^GRANT (.+) ON (.+) TO (['`"]).*\3@(['`"]).*\4( IDENTIFIED BY PASSWORD (['`"]).+\6)? ?(.*)"#,
        )
        .ok()
    });
    static ROLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"^(GRANT (.+) TO (['`"]).*|SET DEFAULT ROLE (.+) FOR (['`"]).*)"#).ok()
    });
    let mut all = Privileges::new();
    for row in server.with("SHOW GRANTS FOR %s@%s", &[user, host])?.rows {
        let line = row.first().map(ToString::to_string).unwrap_or_default();
        let captures = GRANT.as_ref().and_then(|re| re.captures(&line).ok().flatten());
        let Some(captures) = captures else {
            // Roles are no privileges of their own.
            if ROLE.as_ref().is_some_and(|re| re.is_match(&line).unwrap_or(false)) {
                continue;
            }
            return Err(Failure::new(format!("unable to parse the MySQL grant string: {line}")));
        };
        let group = |number: usize| captures.get(number).map_or("", |found| found.as_str());
        let pick = |item: &str| match item.trim() {
            "ALL PRIVILEGES" => "ALL".to_owned(),
            other => other.to_owned(),
        };
        let mut list = with_sorted_columns(group(1).split(',').map(pick).collect());
        if group(7).contains("WITH GRANT OPTION") {
            list.push("GRANT".into());
        }
        all.entry(group(2).to_owned()).or_default().extend(list);
    }
    Ok(all)
}

/// Gives an account privileges; `requirement` is what follows `REQUIRE` on servers that take it only here.
///
/// # Errors
/// What the server says.
pub fn grant(
    server: &mut Session,
    account: (&str, &str),
    object: &str,
    privileges: &[String],
    requirement: &str,
) -> Result<(), Failure> {
    let names = without_grant(privileges);
    let option = if privileges.iter().any(|p| p == "GRANT") { " WITH GRANT OPTION" } else { "" };
    let statement = format!("GRANT {names} ON {} TO %s@%s{requirement}{option}", object.replace('%', "%%"));
    server.with(&statement, &[account.0, account.1]).map(drop).map_err(|error| {
        Failure::new(format!(
            "Error granting privileges, invalid priv string: {names} , params: ('{}', '{}'), query: {statement} , exception: {error}.",
            account.0, account.1
        ))
    })
}

/// Takes privileges from an account.
///
/// # Errors
/// What the server says.
pub fn revoke(
    server: &mut Session,
    account: (&str, &str),
    object: &str,
    privileges: &[String],
    grant_option: bool,
) -> Result<(), Failure> {
    let object = object.replace('%', "%%");
    let who = [account.0, account.1];
    if grant_option {
        server.with(&format!("REVOKE GRANT OPTION ON {object} FROM %s@%s"), &who)?;
    }
    let names = without_grant(privileges);
    if !names.is_empty() && !(grant_option && names == "USAGE") {
        server.with(&format!("REVOKE {names} ON {object} FROM %s@%s"), &who)?;
    }
    server.rows("FLUSH PRIVILEGES")?;
    Ok(())
}

fn without_grant(privileges: &[String]) -> String {
    privileges.iter().filter(|p| *p != "GRANT").map(String::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_as_people_write_them() {
        let read =
            unpack("mydb.*:insert,UPDATE/other.t:SELECT (b, a),DELETE/*.*:ALL,GRANT", false, false, true)
                .expect("read");
        assert_eq!(read["`mydb`.*"], ["INSERT", "UPDATE"]);
        assert_eq!(read["`other`.`t`"], ["SELECT (A, B)", "DELETE"]);
        assert_eq!(read["*.*"], ["ALL", "GRANT"]);
        let read = unpack("FUNCTION mydb.f:EXECUTE/d.t:SELECT (bB,aA)", true, true, true).expect("read");
        assert_eq!(read["FUNCTION \"mydb\".\"f\""], ["EXECUTE"]);
        assert_eq!(read["\"d\".\"t\""], ["SELECT (aA, bB)"]);
        assert_eq!(read["*.*"], ["USAGE"]);
        assert!(unpack("nothing", false, false, true).is_err());
    }
}

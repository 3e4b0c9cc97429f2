//! Patterns of hosts (`ansible/inventory/manager.py`): names, groups, wildcards, `~` regular expressions, `[n]` and
//! `[a:b]` behind a name, `:` and `,` between parts, `!` leaves out, `&` keeps.

use bakery_host::fs;
use bakery_lang::regex::{Flags, compile};

use super::Inventory;
use crate::{Error, Result};

/// The parts of a pattern, with those of the files that it names by `@`.
fn parts(pattern: &str) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    for part in split(pattern) {
        match part.strip_prefix('@') {
            Some(file) => {
                let path = std::path::Path::new(file);
                if !path.exists() {
                    return Err(crate::Error::message(format!("Unable to find limit file {file}")));
                }
                if !path.is_file() {
                    return Err(crate::Error::message(format!(
                        "Limit starting with \"@\" must be a file, not a directory: {file}"
                    )));
                }
                let text = fs::read_to_string(file)?;
                parts.extend(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned));
            }
            None => parts.push(part),
        }
    }
    Ok(parts)
}

impl Inventory {
    /// The hosts that a pattern names, and the parts of it that name nothing.
    ///
    /// # Errors
    /// A file of patterns that cannot be read, a regular expression that is none.
    pub fn matching(&self, pattern: &str) -> Result<(Vec<String>, Vec<String>)> {
        let parts = parts(pattern)?;
        let of = |mark: char| parts.iter().filter(move |p| p.starts_with(mark));
        let plain: Vec<&String> = parts.iter().filter(|p| !p.starts_with(['!', '&'])).collect();
        let mut out: Vec<String> = Vec::new();
        let mut unmatched = Vec::new();
        if plain.is_empty() && (!parts.is_empty() || pattern.contains(',')) {
            out = self.hosts_of("all");
        }
        for part in plain {
            let found = self.one(part)?;
            if found.is_empty() && part != "all" {
                unmatched.push(part.clone());
            }
            out.extend(found.into_iter().filter(|h| !out.contains(h)).collect::<Vec<_>>());
        }
        for part in of('&') {
            let found = self.one(&part[1..])?;
            out.retain(|h| found.contains(h));
        }
        for part in of('!') {
            let found = self.one(&part[1..])?;
            out.retain(|h| !found.contains(h));
        }
        Ok((out, unmatched))
    }

    /// Fails when `--limit` leaves no host of an inventory that has some: a wrong word must not pass for success.
    ///
    /// # Errors
    /// That, and as [`Inventory::matching`].
    pub fn check_limit(&self, pattern: &str) -> Result<()> {
        let mut hosts = self.hosts_of("all");
        let any = !hosts.is_empty();
        self.limit(&mut hosts, pattern)?;
        if any && hosts.is_empty() && self.matching(pattern)?.0.is_empty() && !parts(pattern)?.is_empty() {
            let text = "Specified inventory, host pattern and/or --limit leaves us with no hosts to target.";
            return Err(crate::Error {
                code: bakery_events::exit::BAD_OPTIONS,
                ..crate::Error::message(text)
            });
        }
        Ok(())
    }

    /// Keeps the hosts that a pattern of `--limit` names; one without any part keeps all.
    ///
    /// # Errors
    /// As [`Inventory::matching`].
    pub fn limit(&self, hosts: &mut Vec<String>, pattern: &str) -> Result<()> {
        if !parts(pattern)?.is_empty() {
            let (allowed, _) = self.matching(pattern)?;
            hosts.retain(|h| allowed.contains(h));
        }
        Ok(())
    }

    fn one(&self, part: &str) -> Result<Vec<String>> {
        if let Some(pattern) = part.strip_prefix('~') {
            let regex = compile(pattern, Flags::default()).map_err(Error::message)?;
            return Ok(
                self.fitting(|name| regex.find(name).ok().flatten().is_some_and(|found| found.start() == 0))
            );
        }
        let (name, subscript) = subscript(part);
        let found = self.named(name);
        Ok(match subscript {
            None => found,
            Some((from, to)) => {
                let at = |index: i64| {
                    let index = if index < 0 { index + found.len() as i64 } else { index };
                    usize::try_from(index).unwrap_or(0).min(found.len())
                };
                let from = at(from);
                let to = to.map_or(found.len(), |to| if to == -1 { found.len() } else { at(to) + 1 });
                found.get(from..to.min(found.len())).map(<[String]>::to_vec).unwrap_or_default()
            }
        })
    }

    fn named(&self, name: &str) -> Vec<String> {
        if matches!(name, "all" | "*" | "ungrouped") {
            return self.hosts_of(if name == "*" { "all" } else { name });
        }
        let found = match glob::Pattern::new(name) {
            Ok(glob) if name.contains(['*', '?', '[']) => self.fitting(|n| glob.matches(n)),
            _ => self.fitting(|n| n == name),
        };
        // Without being listed, localhost is there when it is asked for by name.
        if found.is_empty() && super::IMPLICIT.contains(&name) {
            return vec![name.to_owned()];
        }
        found
    }

    /// The hosts of the groups that fit; if none does, the hosts that fit.
    fn fitting(&self, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for group in self.groups.iter().filter(|g| fits(&g.name)) {
            out.extend(
                self.hosts_of(&group.name).into_iter().filter(|h| !out.contains(h)).collect::<Vec<_>>(),
            );
        }
        out.extend(self.hosts.keys().filter(|h| fits(h) && !out.contains(h)).cloned().collect::<Vec<_>>());
        out
    }
}

/// The parts between commas, or between colons that are neither in brackets nor in an IPv6 address.
fn split(pattern: &str) -> Vec<String> {
    let trim = |part: &str| Some(part.trim().to_owned()).filter(|p| !p.is_empty());
    if pattern.contains(',') {
        return pattern.split(',').filter_map(trim).collect();
    }
    if pattern.starts_with('~')
        || pattern.matches(':').count() > 1 && pattern.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return vec![pattern.trim().to_owned()];
    }
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in pattern.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ':' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().filter_map(|p| trim(p)).collect()
}

/// `name[1]`, `name[-1]` and `name[0:2]`; the last index is part of the range.
fn subscript(part: &str) -> (&str, Option<(i64, Option<i64>)>) {
    let parsed = || {
        let (name, rest) = part.strip_suffix(']')?.rsplit_once('[')?;
        let range = match rest.split_once([':', '-']).filter(|(a, _)| !a.is_empty() || rest.starts_with(':'))
        {
            Some((a, b)) => {
                let from = if a.is_empty() { 0 } else { a.parse().ok()? };
                (from, if b.is_empty() { None } else { Some(b.parse().ok()?) })
            }
            None => {
                let at: i64 = rest.parse().ok()?;
                (at, Some(at))
            }
        };
        Some((name, range))
    };
    parsed().map_or((part, None), |(name, range)| (name, Some(range)))
}

//! /etc/passwd and /etc/group, read by ourselves: a static program cannot use the system's name service.

#![allow(unsafe_code)]

use std::path::Path;

use crate::fs::read_to_string;

/// A line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of passwd(5)")]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub gecos: String,
    pub home: String,
    pub shell: String,
}

/// A line of /etc/group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of group(5)")]
pub struct Group {
    pub name: String,
    pub gid: u32,
    pub members: Vec<String>,
}

/// The users of a root file system.
pub fn users(root: impl AsRef<Path>) -> Vec<User> {
    let text = read_to_string(root.as_ref().join("etc/passwd")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let f: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, gecos, home, shell] = f.as_slice() else { return None };
            Some(User {
                name: (*name).to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                gecos: (*gecos).to_owned(),
                home: (*home).to_owned(),
                shell: (*shell).to_owned(),
            })
        })
        .collect()
}

/// The groups of a root file system.
pub fn groups(root: impl AsRef<Path>) -> Vec<Group> {
    let text = read_to_string(root.as_ref().join("etc/group")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let f: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = f.as_slice() else { return None };
            let members = members.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
            Some(Group { name: (*name).to_owned(), gid: gid.parse().ok()?, members })
        })
        .collect()
}

/// A user by name or number.
pub fn find_user(name: &str) -> Option<User> {
    users("/").into_iter().find(|u| u.name == name || name.parse() == Ok(u.uid))
}

/// A group by name or number.
pub fn find_group(name: &str) -> Option<Group> {
    groups("/").into_iter().find(|g| g.name == name || name.parse() == Ok(g.gid))
}

/// The user that this process acts as.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The name of the user that this process acts as; its number if it has none.
pub fn effective_name() -> String {
    let uid = effective_uid();
    let found = users("/").into_iter().find(|user| user.uid == uid);
    found.map_or_else(|| uid.to_string(), |user| user.name)
}

/// Becomes a user for good: groups, home, and all of the process's identity.
pub fn become_user(user: &User, groups: &[u32]) -> std::io::Result<()> {
    let list: Vec<libc::gid_t> = std::iter::once(user.gid).chain(groups.iter().copied()).collect();
    // SAFETY: the calls read the list and change this process's identity; called before any thread starts.
    unsafe {
        if libc::setgroups(list.len(), list.as_ptr()) != 0
            || libc::setgid(user.gid) != 0
            || libc::setuid(user.uid) != 0
        {
            return Err(std::io::Error::last_os_error());
        }
        std::env::set_var("HOME", &user.home);
        std::env::set_var("USER", &user.name);
        std::env::set_var("LOGNAME", &user.name);
    }
    Ok(())
}

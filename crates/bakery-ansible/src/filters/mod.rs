//! Filters: ansible-core's own, and those of collections that roles use.

mod community;
mod core;
mod lists;
mod marks;
mod query;
mod texts;

use bakery_jinja::{Arguments, Result};
use bakery_lang::Value;

pub(crate) use self::core::now;
pub(crate) use self::lists::merge_into;
pub(crate) use self::marks::is_tagged;
use crate::{Templar, addresses};

/// Runs a filter, which may be named with its collection; `None` for one that is not known here. Filters that left
/// ansible-core are found without a collection, as its routes have it.
pub(crate) fn call(templar: &Templar, name: &str, value: &Value, args: &Arguments) -> Option<Result<Value>> {
    let (collection, short) = match name.rsplit_once('.') {
        Some((collection, short)) => (Some(collection), short),
        None => (None, name),
    };
    let of_core = || core::call(templar, short, value, args);
    let of_addresses = || addresses::filter(short, value, args);
    let of_community = || community::call(short, value, args);
    match collection {
        None => of_core().or_else(of_addresses).or_else(of_community),
        Some("ansible.builtin" | "ansible.legacy" | "ansible.posix") => of_core(),
        Some("ansible.utils" | "ansible.netcommon") => of_addresses(),
        // It has some of ansible-core's again, with more options.
        Some("community.general") => of_community().or_else(of_core),
        Some("ansible._protomatter") => marks::call(short, value),
        Some(_) => None,
    }
}

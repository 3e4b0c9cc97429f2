//! Callbacks beside the one that prints results: those that `callbacks_enabled` names.

mod junit;
mod timing;

use std::io::Write;

use bakery_ansible::{Callback, Settings};

use self::junit::JUnit;
use self::timing::{ProfileRoles, ProfileTasks, Timer};

/// The companions that settings name, and the names that are no native ones.
pub(crate) fn enabled<'a>(
    settings: &Settings,
    out: &dyn Fn() -> Box<dyn Write + Send + 'a>,
    verbosity: u8,
) -> (Vec<Box<dyn Callback + 'a>>, Vec<String>) {
    let (mut companions, mut unknown): (Vec<Box<dyn Callback + 'a>>, _) = (vec![], vec![]);
    // The older name is still in many files.
    let mut names = settings.list("ANSIBLE_CALLBACKS_ENABLED", "defaults", "callbacks_enabled");
    names.extend(settings.list("ANSIBLE_CALLBACK_WHITELIST", "defaults", "callback_whitelist"));
    for name in names {
        match name.rsplit('.').next().unwrap_or(&name) {
            "timer" => companions.push(Box::new(Timer::new(out()))),
            "profile_tasks" => companions.push(Box::new(ProfileTasks::new(settings, out(), verbosity))),
            "profile_roles" => companions.push(Box::new(ProfileRoles::new(settings, out()))),
            "junit" => companions.push(Box::new(JUnit::new(settings, out()))),
            // Those that print results are named elsewhere; beside another one they are left out.
            "default" | "minimal" | "oneline" | "json" | "yaml" => {}
            _ => unknown.push(name),
        }
    }
    (companions, unknown)
}

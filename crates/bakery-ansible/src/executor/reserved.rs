//! Names of variables that mean something else already: keywords of plays and tasks, and what templates can call
//! (`ansible/vars/reserved.py`).

use bakery_lang::{Diagnostic, Map};

use super::run::Runner;

/// The names, which stand between spaces.
const RESERVED: &str = "\
    action always any_errors_fatal args async async_val become become_exe become_flags become_method \
    become_user block changed_when check_mode collections connection cycler debugger delay \
    delegate_facts delegate_to dict diff environment fact_path failed_when force_handlers gather_facts \
    gather_timeout handlers hosts ignore_errors ignore_unreachable joiner lipsum local_action lookup \
    loop loop_control loop_with max_fail_percentage module_defaults name namespace no_log notify now \
    omit order poll port post_tasks pre_tasks q query range register remote_user rescue retries roles \
    run_once serial strategy tags tasks throttle timeout undef until vars_files vars_prompt when with_";

impl Runner<'_> {
    /// Says of variables with such a name where they are written, each once.
    pub(super) fn warn_of_reserved(&self, vars: &Map) {
        for (key, value) in vars.pairs() {
            let Some(name) =
                key.as_str().filter(|name| RESERVED.split(' ').any(|reserved| reserved == *name))
            else {
                continue;
            };
            let text = format!("Found variable using reserved name '{name}'.");
            let told =
                Diagnostic { message: text, origin: key.origin().or(value.origin()).cloned(), hint: None };
            self.show_warnings(vec![told.to_string()]);
        }
    }
}

//! What a task inherits from its play, role, blocks and includes.

use std::borrow::Cow;
use std::sync::Arc;

use bakery_lang::{Map, Value};

use crate::playbook::{Keywords, RoleUse};
use crate::vars::Around;

/// Inherited keywords, the innermost value of each that overrides, all of those that add up.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub(super) when: Vec<Value>,
    pub(super) tags: Vec<Value>,
    pub(super) environment: Vec<Value>,
    pub(super) module_defaults: Vec<Value>,
    pub(super) notify: Vec<Value>,
    pub(super) collections: Vec<Value>,
    /// `vars`, inner first.
    pub(super) vars: Vec<Map>,
    pub(super) include_params: Vec<Map>,
    pub(super) role: Option<Arc<RoleUse>>,
    /// `become` and what belongs to it, inner last: an inner one may say `omit`.
    pub(super) r#become: Vec<Value>,
    pub(super) become_user: Vec<Value>,
    pub(super) become_method: Vec<Value>,
    pub(super) become_exe: Vec<Value>,
    pub(super) become_flags: Vec<Value>,
    pub(super) remote_user: Option<Value>,
    pub(super) port: Option<Value>,
    pub(super) connection: Option<Value>,
    pub(super) delegate_to: Option<Value>,
    pub(super) run_once: Option<Value>,
    pub(super) ignore_errors: Option<Value>,
    pub(super) ignore_unreachable: Option<Value>,
    pub(super) any_errors_fatal: Option<Value>,
    pub(super) check_mode: Option<Value>,
    pub(super) diff: Option<Value>,
    pub(super) no_log: Option<Value>,
    pub(super) timeout: Option<Value>,
    pub(super) throttle: Option<Value>,
    pub(super) delegate_facts: Option<Value>,
    /// When tasks stop in the debugger.
    pub(super) debugger: Option<Value>,
    /// Variables that were set in the debugger, over all others.
    pub(super) debugged: Map,
    /// Whether a failure here is rescued further out.
    pub(super) rescued: bool,
    /// Whether this runs as a handler.
    pub(super) handler: bool,
}

impl Context {
    /// The context inside a role: names are searched in its collections, not in those of who uses it.
    pub(super) fn enter_role(&self, role: Option<&Arc<RoleUse>>) -> Cow<'_, Self> {
        match role {
            Some(role) if !self.role.as_ref().is_some_and(|own| Arc::ptr_eq(own, role)) => {
                let collections = role.role.collections.iter().map(|name| name.as_str().into()).collect();
                Cow::Owned(Self { role: Some(Arc::clone(role)), collections, ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// The context inside something with these keywords.
    pub(super) fn enter(&self, k: &Keywords) -> Self {
        let mut inner = self.clone();
        inner.when.extend(k.when.iter().cloned());
        inner.tags.extend(k.tags.iter().cloned());
        inner.environment.extend(k.environment.iter().cloned());
        inner.module_defaults.extend(k.module_defaults.iter().cloned());
        inner.notify.extend(k.notify.iter().cloned());
        // The innermost list counts.
        if !k.collections.is_empty() {
            inner.collections.clone_from(&k.collections);
        }
        if !k.vars.is_empty() {
            inner.vars.insert(0, k.vars.clone());
        }
        inner.r#become.extend(k.r#become.clone());
        inner.become_user.extend(k.become_user.clone());
        inner.become_method.extend(k.become_method.clone());
        inner.become_exe.extend(k.become_exe.clone());
        inner.become_flags.extend(k.become_flags.clone());
        let over = |own: &Option<Value>, outer: &mut Option<Value>| {
            if own.is_some() {
                outer.clone_from(own);
            }
        };
        over(&k.connection, &mut inner.connection);
        over(&k.remote_user, &mut inner.remote_user);
        over(&k.port, &mut inner.port);
        over(&k.delegate_to, &mut inner.delegate_to);
        over(&k.run_once, &mut inner.run_once);
        over(&k.ignore_errors, &mut inner.ignore_errors);
        over(&k.ignore_unreachable, &mut inner.ignore_unreachable);
        over(&k.any_errors_fatal, &mut inner.any_errors_fatal);
        over(&k.check_mode, &mut inner.check_mode);
        over(&k.diff, &mut inner.diff);
        over(&k.no_log, &mut inner.no_log);
        over(&k.timeout, &mut inner.timeout);
        over(&k.debugger, &mut inner.debugger);
        over(&k.throttle, &mut inner.throttle);
        over(&k.delegate_facts, &mut inner.delegate_facts);
        inner
    }

    /// The variables around a task here.
    pub(super) fn around(&self, local: Map) -> Around {
        Around {
            local,
            include_params: self.include_params.clone(),
            blocks: self.vars.clone(),
            role: self.role.clone(),
        }
    }
}

/// Whether tags select a task (`ansible/playbook/taggable.py`).
pub(crate) fn selected(tags: &[String], only: &[String], skip: &[String]) -> bool {
    let has = |name: &str| tags.iter().any(|t| t == name);
    let mut run = only.is_empty() || only.iter().any(|o| o == "all");
    if run && has("never") && !only.iter().any(|o| o != "all" && has(o)) {
        run = false;
    }
    if !run {
        run = has("always")
            || only.iter().any(|o| has(o))
            || (only.iter().any(|o| o == "tagged") && !tags.is_empty())
            || (only.iter().any(|o| o == "untagged") && tags.is_empty());
        if has("never") && !only.iter().any(|o| o != "all" && o != "tagged" && has(o)) {
            run = false;
        }
    }
    if run && !skip.is_empty() {
        let skipped = skip.iter().any(|s| has(s))
            || (skip.iter().any(|s| s == "all") && !has("always"))
            || (skip.iter().any(|s| s == "tagged") && !tags.is_empty())
            || (skip.iter().any(|s| s == "untagged") && tags.is_empty());
        return !skipped;
    }
    run
}

#[cfg(test)]
mod tests {
    use super::selected;

    #[test]
    fn tags_select_as_in_ansible() {
        let l = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(selected(&l(""), &l(""), &l("")));
        assert!(!selected(&l("never"), &l(""), &l("")));
        assert!(selected(&l("never x"), &l("x"), &l("")));
        assert!(selected(&l("always"), &l("x"), &l("")));
        assert!(!selected(&l("always"), &l("x"), &l("always")));
        assert!(!selected(&l("y"), &l("x"), &l("")));
        assert!(selected(&l("y"), &l("tagged"), &l("")));
        assert!(!selected(&l("y"), &l(""), &l("y")));
    }
}

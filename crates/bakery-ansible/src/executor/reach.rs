//! How a task gets to its host: the endpoint, and the user to become there, out of variables, keywords, options and
//! settings in Ansible's order (`ansible/plugins/connection/ssh.py`, `ansible/plugins/become/sudo.py`, their `vars`).

use std::path::PathBuf;

use bakery_lang::{Map, Value};
use bakery_modules::{Phase, args};

use super::context::Context;
use super::run::Runner;
use crate::Templar;
use crate::connection::{Endpoint, Escalation, Secret, Ssh};
use crate::inventory::IMPLICIT as HERE;

/// What the command line says of connections.
#[derive(Debug, Clone, Default)]
pub struct ReachOptions {
    /// The user to connect as.
    pub user: Option<String>,
    /// The file of the private key.
    pub private_key: Option<String>,
    /// The password to connect with.
    pub password: Option<Secret>,
    /// How to become another user.
    pub become_method: Option<String>,
    /// What becoming another user asks for.
    pub become_password: Option<Secret>,
    /// Options for ssh.
    pub ssh_common_args: Option<String>,
    /// More options for ssh.
    pub ssh_extra_args: Option<String>,
    /// Seconds before a connection is given up.
    pub timeout: Option<u64>,
}

/// The variables of the machine that a task's modules run on.
struct Vars<'a>(&'a Templar);

impl Vars<'_> {
    /// The first of some variables that is there and says something.
    fn first(&self, names: &[&str]) -> Option<String> {
        let value = names.iter().find_map(|name| self.value(name))?;
        Some(value.to_string()).filter(|text| !text.is_empty())
    }

    fn value(&self, name: &str) -> Option<Value> {
        let value = self.0.layers.get(name)?;
        self.0.value(&value).ok().filter(|v| !matches!(v, Value::Omit | Value::None) && !v.is_undefined())
    }

    fn flag(&self, name: &str) -> Option<bool> {
        args::boolean(&self.value(name)?).ok()
    }
}

impl Runner<'_> {
    /// Where the modules of a task run.
    ///
    /// # Errors
    /// A connection that bakery does not have.
    pub(super) fn endpoint(
        &self,
        host: &str,
        delegated: Option<&str>,
        context: &Context,
        templar: &Templar,
    ) -> Result<Endpoint, String> {
        if self.connections.phase == Phase::Bake {
            // While baking there is a way to every host: the image.
            return Ok(match delegated {
                Some(name) if HERE.contains(&name) => Endpoint::Controller,
                _ => Endpoint::Target,
            });
        }
        let other = delegated.map(|name| self.templar(name, &Context::default(), Map::new(), None));
        let vars = Vars(other.as_ref().unwrap_or(templar));
        let name = delegated.unwrap_or(host);
        let keyword = |value: &Option<Value>| {
            value.as_ref().and_then(|v| templar.text(v).ok()).filter(|_| delegated.is_none())
        };
        let connection = vars
            .first(&["ansible_connection"])
            .or_else(|| keyword(&context.connection))
            .or_else(|| self.options.connection.clone());
        let connection = connection.map(|name| self.loader().redirected("connection", name));
        match connection.as_deref().map(|c| c.strip_prefix("ansible.builtin.").unwrap_or(c)) {
            Some("local") => Ok(Endpoint::Target),
            None if HERE.contains(&name) => Ok(Endpoint::Controller),
            None | Some("ssh" | "smart" | "paramiko" | "paramiko_ssh") => {
                Ok(Endpoint::Ssh(self.ssh(name, &vars, context, keyword)))
            }
            Some(other) => Err(format!(
                "bakery does not reach hosts by the connection `{other}`; it has `ssh` and `local`, and bakes images"
            )),
        }
    }

    fn ssh(
        &self,
        name: &str,
        vars: &Vars<'_>,
        context: &Context,
        keyword: impl Fn(&Option<Value>) -> Option<String>,
    ) -> Ssh {
        let options = &self.options.reach;
        let loader = self.loader();
        let settings = &loader.settings;
        let of = |variable: &str, key: &str| settings.text(variable, "ssh_connection", key);
        let control_folder = of("ANSIBLE_SSH_CONTROL_PATH_DIR", "control_path_dir").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".ansible/cp"),
            |text| crate::settings::expanded(&text),
        );
        let number = |text: Option<String>| text.and_then(|t| t.trim().parse().ok());
        Ssh {
            host: vars.first(&["ansible_host", "ansible_ssh_host"]).unwrap_or_else(|| name.to_owned()),
            port: vars
                .first(&["ansible_port", "ansible_ssh_port"])
                .or_else(|| keyword(&context.port))
                .or_else(|| settings.text("ANSIBLE_REMOTE_PORT", "defaults", "remote_port")),
            user: vars
                .first(&["ansible_user", "ansible_ssh_user"])
                .or_else(|| keyword(&context.remote_user))
                .or_else(|| options.user.clone())
                .or_else(|| settings.text("ANSIBLE_REMOTE_USER", "defaults", "remote_user")),
            key: vars
                .first(&["ansible_private_key_file", "ansible_ssh_private_key_file"])
                .or_else(|| options.private_key.clone())
                .or_else(|| settings.text("ANSIBLE_PRIVATE_KEY_FILE", "defaults", "private_key_file"))
                .map(|path| crate::settings::expanded(&path).display().to_string()),
            password: vars
                .first(&["ansible_password", "ansible_ssh_password", "ansible_ssh_pass"])
                .map(Secret)
                .or_else(|| options.password.clone()),
            args: vars
                .first(&["ansible_ssh_args"])
                .or_else(|| of("ANSIBLE_SSH_ARGS", "ssh_args"))
                .unwrap_or_else(|| "-C -o ControlMaster=auto -o ControlPersist=60s".into()),
            more_args: [
                vars.first(&["ansible_ssh_common_args"])
                    .or_else(|| options.ssh_common_args.clone())
                    .or_else(|| of("ANSIBLE_SSH_COMMON_ARGS", "ssh_common_args")),
                vars.first(&["ansible_ssh_extra_args"])
                    .or_else(|| options.ssh_extra_args.clone())
                    .or_else(|| of("ANSIBLE_SSH_EXTRA_ARGS", "ssh_extra_args")),
            ]
            .into_iter()
            .flatten()
            .collect(),
            executable: vars
                .first(&["ansible_ssh_executable"])
                .or_else(|| of("ANSIBLE_SSH_EXECUTABLE", "ssh_executable"))
                .unwrap_or_else(|| "ssh".into()),
            check_host_key: vars
                .flag("ansible_ssh_host_key_checking")
                .or_else(|| vars.flag("ansible_host_key_checking"))
                .unwrap_or_else(|| {
                    settings.flag("ANSIBLE_HOST_KEY_CHECKING", "defaults", "host_key_checking", true)
                }),
            control_folder,
            timeout: number(vars.first(&["ansible_ssh_timeout"]))
                .or(options.timeout)
                .unwrap_or_else(|| settings.number("ANSIBLE_TIMEOUT", "defaults", "timeout", 10)),
            retries: number(vars.first(&["ansible_ssh_retries"]))
                .unwrap_or_else(|| settings.number("ANSIBLE_SSH_RETRIES", "ssh_connection", "retries", 0)),
        }
    }

    /// The user to become, if there is one. Variables have the last word.
    pub(super) fn escalation(
        &self,
        delegated: Option<&str>,
        context: &Context,
        templar: &Templar,
    ) -> Option<Escalation> {
        let other = delegated.map(|name| self.templar(name, &Context::default(), Map::new(), None));
        let vars = Vars(other.as_ref().unwrap_or(templar));
        // What is omitted is what is inherited.
        let said = |values: &[Value]| {
            let values = values.iter().rev().filter_map(|v| templar.value(v).ok());
            values.into_iter().find(|v| !matches!(v, Value::Omit | Value::None))
        };
        let becoming = vars
            .flag("ansible_become")
            .or_else(|| args::boolean(&said(&context.r#become)?).ok())
            .unwrap_or(self.options.r#become);
        if !becoming {
            return None;
        }
        let options = &self.options.reach;
        let text = |values: &[Value]| said(values).map(|v| v.to_string());
        let method = vars
            .first(&["ansible_become_method"])
            .or_else(|| text(&context.become_method))
            .or_else(|| options.become_method.clone())
            .unwrap_or_else(|| "sudo".into());
        let method = method.strip_prefix("ansible.builtin.").unwrap_or(&method).to_owned();
        let particular = |word: &str| {
            let of_method = format!("ansible_{method}_{word}");
            vars.first(&[&format!("ansible_become_{word}"), &of_method])
        };
        let loader = self.loader();
        let setting = |word: &str| {
            let upper = word.to_uppercase();
            let key = format!("become_{word}");
            loader.settings.text(&format!("ANSIBLE_BECOME_{upper}"), "privilege_escalation", &key)
        };
        Some(Escalation {
            user: particular("user")
                .or_else(|| text(&context.become_user))
                .or_else(|| self.options.become_user.clone())
                .unwrap_or_else(|| "root".into()),
            exe: particular("exe").or_else(|| text(&context.become_exe)).or_else(|| setting("exe")),
            flags: particular("flags").or_else(|| text(&context.become_flags)).or_else(|| setting("flags")),
            chdir: vars.first(&["ansible_sudo_chdir"]).filter(|_| method == "sudo"),
            password: particular("password")
                .or_else(|| particular("pass"))
                .map(Secret)
                .or_else(|| options.become_password.clone()),
            always: loader.settings.flag(
                "ANSIBLE_BECOME_ALLOW_SAME_USER",
                "privilege_escalation",
                "become_allow_same_user",
                false,
            ),
            method,
        })
    }
}

//! Which builders, provisioners and post-processors there are, and the options of those that bakery runs.

use bakery_lang::{Diagnostic, suggest};

use crate::{Build, Component, Result, Template, options, rules};

/// A kind of component.
#[derive(Debug)]
pub struct Known {
    /// Its type.
    pub kind: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Whether bakery runs it.
    pub runs: bool,
    /// Its options, by what they are about; empty for those that are only recognised.
    pub keys: &'static [&'static [&'static str]],
}

/// Options that every provisioner has.
const COMMON: &[&str] =
    &["only", "except", "override", "pause_before", "max_retries", "timeout", "name", "continue_on_error"];

/// The options of `shell-local`, as a provisioner and as a post-processor.
const SHELL_LOCAL: &[&str] = &[
    "command",
    "inline",
    "script",
    "scripts",
    "execute_command",
    "env_var_format",
    "environment_vars",
    "env",
    "only_on",
    "tempfile_extension",
    "use_linux_pathing",
    "valid_exit_codes",
    "inline_shebang",
];

/// Builders.
pub const BUILDERS: &[Known] = &[
    Known {
        kind: "disk",
        about: "a bootable disk image, baked on this machine",
        runs: true,
        keys: &[&[
            "base",
            "base_checksum",
            "include",
            "size",
            "image_name",
            "formats",
            "filesystem",
            "kernel_args",
            "mirror",
            "changes",
        ]],
    },
    Known {
        kind: "amazon-ebs",
        about: "an AMI; baked on this machine with --local",
        runs: false,
        keys: &[options::ACCESS, options::AMI, options::RUN, options::COMMUNICATOR],
    },
    Known {
        kind: "amazon-ebssurrogate",
        about: "an AMI; baked on this machine with --local",
        runs: false,
        keys: &[options::ACCESS, options::AMI, options::RUN, options::COMMUNICATOR, options::SURROGATE],
    },
    Known {
        kind: "amazon-chroot",
        about: "an AMI; baked on this machine with --local",
        runs: false,
        keys: &[options::ACCESS, options::AMI, options::RUN, options::CHROOT],
    },
    Known {
        kind: "amazon-instance",
        about: "an AMI; baked on this machine with --local",
        runs: false,
        keys: &[options::ACCESS, options::AMI, options::RUN, options::COMMUNICATOR, options::BUNDLE],
    },
    Known {
        kind: "amazon-ebsvolume",
        about: "EBS volumes",
        runs: false,
        keys: &[options::ACCESS, options::RUN, options::COMMUNICATOR, options::VOLUMES],
    },
    Known {
        kind: "qemu",
        about: "an image from a machine in QEMU",
        runs: true,
        keys: &[options::QEMU, options::MEDIA, options::COMMUNICATOR],
    },
    Known {
        kind: "docker",
        about: "a container image, baked on this machine without a daemon",
        runs: true,
        keys: &[&[
            "image",
            "commit",
            "discard",
            "export_path",
            "author",
            "changes",
            "message",
            "pull",
            "run_command",
            "volumes",
            "privileged",
            "cap_add",
            "cap_drop",
            "container_dir",
            "device",
            "tmpfs",
            "exec_user",
            "fix_upload_owner",
            "login",
            "login_username",
            "login_password",
            "login_server",
            "ecr_login",
            "windows_container",
            "platform",
            "runtime",
            "communicator",
            "image_name",
            "include",
            "mirror",
        ]],
    },
    Known {
        kind: "null",
        about: "nothing but provisioners, on a machine behind ssh or on none",
        runs: true,
        keys: &[options::COMMUNICATOR],
    },
    Known {
        kind: "file",
        about: "a file",
        runs: true,
        keys: &[&["target", "content", "source", "communicator"]],
    },
    Known { kind: "googlecompute", about: "a Google Cloud image", runs: false, keys: &[] },
    Known { kind: "azure-arm", about: "an Azure image", runs: false, keys: &[] },
    Known { kind: "virtualbox-iso", about: "a VirtualBox image", runs: false, keys: &[] },
    Known { kind: "vmware-iso", about: "a VMware image", runs: false, keys: &[] },
];

/// Provisioners.
pub const PROVISIONERS: &[Known] = &[
    Known {
        kind: "ansible",
        about: "a playbook, run natively in the image",
        runs: true,
        keys: &[&[
            "playbook_file",
            "command",
            "extra_arguments",
            "ansible_env_vars",
            "user",
            "groups",
            "empty_groups",
            "host_alias",
            "local_port",
            "ssh_host_key_file",
            "ssh_authorized_key_file",
            "ansible_proxy_key_type",
            "ansible_ssh_extra_args",
            "sftp_command",
            "use_sftp",
            "skip_version_check",
            "inventory_directory",
            "inventory_file",
            "inventory_file_template",
            "keep_inventory_file",
            "galaxy_file",
            "galaxy_command",
            "galaxy_force_install",
            "galaxy_force_with_deps",
            "roles_path",
            "collections_path",
            "use_proxy",
            "ansible_winrm_use_http",
        ]],
    },
    Known {
        kind: "ansible-local",
        about: "a playbook, run natively in the image",
        runs: true,
        keys: &[&[
            "playbook_file",
            "playbook_files",
            "command",
            "playbook_dir",
            "playbook_paths",
            "role_paths",
            "collection_paths",
            "group_vars",
            "host_vars",
            "inventory_file",
            "inventory_groups",
            "extra_arguments",
            "staging_directory",
            "clean_staging_directory",
            "galaxy_file",
            "galaxy_command",
            "galaxy_force_install",
            "galaxy_roles_path",
            "galaxy_collections_path",
        ]],
    },
    Known {
        kind: "shell",
        about: "commands in the image",
        runs: true,
        keys: &[&[
            "inline",
            "script",
            "scripts",
            "inline_shebang",
            "execute_command",
            "env_var_format",
            "environment_vars",
            "env",
            "use_env_var_file",
            "remote_folder",
            "remote_file",
            "remote_path",
            "binary",
            "expect_disconnect",
            "skip_clean",
            "start_retry_timeout",
            "pause_after",
            "valid_exit_codes",
        ]],
    },
    Known {
        kind: "file",
        about: "files into the image",
        runs: true,
        keys: &[&["source", "sources", "content", "destination", "direction", "generated"]],
    },
    Known { kind: "shell-local", about: "commands on this machine", runs: true, keys: &[SHELL_LOCAL] },
    Known { kind: "sleep", about: "waits", runs: true, keys: &[&["duration"]] },
    Known { kind: "breakpoint", about: "waits for a person", runs: true, keys: &[&["note", "disable"]] },
    Known { kind: "powershell", about: "commands on Windows", runs: false, keys: &[] },
    Known { kind: "windows-shell", about: "commands on Windows", runs: false, keys: &[] },
    Known { kind: "windows-restart", about: "restarts Windows", runs: false, keys: &[] },
];

/// Post-processors.
pub const POST_PROCESSORS: &[Known] = &[
    Known {
        kind: "manifest",
        about: "a file that says what was built",
        runs: true,
        keys: &[&["output", "strip_path", "strip_time", "custom_data"]],
    },
    Known {
        kind: "checksum",
        about: "digests of what was built",
        runs: true,
        keys: &[&["checksum_types", "output"]],
    },
    Known {
        kind: "compress",
        about: "what was built as an archive",
        runs: true,
        keys: &[&["output", "format", "compression_level"]],
    },
    Known { kind: "shell-local", about: "commands on this machine", runs: true, keys: &[SHELL_LOCAL] },
    Known {
        kind: "artifice",
        about: "other files in place of what was built",
        runs: true,
        keys: &[&["files"]],
    },
    Known {
        kind: "docker-tag",
        about: "names for a container's image",
        runs: true,
        keys: &[&["repository", "tag", "tags", "force"]],
    },
    Known {
        kind: "docker-save",
        about: "a container's image as `docker load` takes it",
        runs: true,
        keys: &[&["path"]],
    },
    Known {
        kind: "docker-push",
        about: "a container's image to a registry",
        runs: true,
        keys: &[&[
            "login",
            "login_username",
            "login_password",
            "login_server",
            "ecr_login",
            "aws_access_key",
            "aws_secret_key",
            "aws_token",
            "aws_profile",
            "platform",
        ]],
    },
    Known {
        kind: "docker-import",
        about: "a container's image out of a tree's archive",
        runs: true,
        keys: &[&["repository", "tag", "platform", "changes"]],
    },
    Known {
        kind: "vagrant",
        about: "a box for Vagrant's provider libvirt",
        runs: true,
        keys: &[&[
            "output",
            "compression_level",
            "include",
            "vagrantfile_template",
            "vagrantfile_template_generated",
            "override",
            "provider_override",
            "no_release",
        ]],
    },
    Known { kind: "vagrant-cloud", about: "a box at a service", runs: false, keys: &[] },
    Known { kind: "amazon-import", about: "an AMI from a disk", runs: false, keys: &[] },
    Known { kind: "googlecompute-export", about: "an image out of a cloud", runs: false, keys: &[] },
    Known { kind: "googlecompute-import", about: "an image into a cloud", runs: false, keys: &[] },
    Known { kind: "vsphere", about: "an image into vSphere", runs: false, keys: &[] },
    Known { kind: "vsphere-template", about: "a template in vSphere", runs: false, keys: &[] },
    Known { kind: "provenance", about: "a statement of where it comes from", runs: false, keys: &[] },
];

/// Checks the names of everything in some builds and the options of what bakery runs; the provisioners' files must be there.
///
/// # Errors
/// What is not known, with its place and what is.
pub fn validate(template: &Template, builds: &[&Build]) -> Result<()> {
    for build in builds {
        check(&build.builder, "builder", BUILDERS, &[])?;
        for provisioner in build.provisioners.iter().chain(&build.error_cleanup) {
            check(provisioner, "provisioner", PROVISIONERS, COMMON)?;
            for key in ["playbook_file", "script", "galaxy_file", "inventory_file"] {
                if let Some(file) = provisioner.text(key)
                    && !template.folder.join(&file).exists()
                {
                    let message =
                        format!("`{key}`: there is no file `{file}` in {}", template.folder.display());
                    return Err(at(provisioner, message).into());
                }
            }
            if provisioner.kind == "ansible" && provisioner.text("playbook_file").is_none() {
                return Err(at(provisioner, "`playbook_file` must be specified".into()).into());
            }
        }
        for component in build.post_processors.iter().flatten() {
            check(
                component,
                "post-processor",
                POST_PROCESSORS,
                &["keep_input_artifact", "only", "except", "name"],
            )?;
        }
    }
    Ok(())
}

/// Checks what the options of builders come to, as far as that can be said without running them.
///
/// # Errors
/// All that is wrong with the first builder of which something is.
pub fn validate_builders(template: &Template, builds: &[&Build]) -> Result<()> {
    for build in builds {
        let complaints = rules::broken(&build.builder, &template.folder);
        if let [first, more @ ..] = complaints.as_slice() {
            let message = format!("the builder `{}`: {first}", build.builder.name);
            let more = more.iter().map(|complaint| format!("also: {complaint}"));
            let error = at(&build.builder, message);
            return Err(error
                .maybe_hint(Some(more.collect::<Vec<_>>().join("\n")).filter(|m| !m.is_empty()))
                .into());
        }
    }
    Ok(())
}

fn at(component: &Component, message: String) -> Diagnostic {
    match &component.origin {
        Some(origin) => Diagnostic::at(origin, message),
        None => Diagnostic::new(message),
    }
}

fn check(component: &Component, what: &str, known: &[Known], common: &[&str]) -> Result<()> {
    let names = || known.iter().map(|k| k.kind);
    let Some(found) = known.iter().find(|k| k.kind == component.kind) else {
        let hint = suggest(&component.kind, names())
            .unwrap_or_else(|| format!("known: {}", names().collect::<Vec<_>>().join(", ")));
        return Err(at(component, format!("unknown {what} type `{}`", component.kind)).hint(hint).into());
    };
    if found.keys.is_empty() {
        return Ok(());
    }
    for key in component.config.keys() {
        let key = key.to_string();
        let mut all = found.keys.iter().copied().flatten().copied();
        if !all.any(|other| other == key) && !common.contains(&key.as_str()) && !key.starts_with('_') {
            let hint = suggest(&key, found.keys.iter().copied().flatten().copied());
            return Err(at(component, format!("unknown option `{key}` of the {what} `{}`", component.kind))
                .maybe_hint(hint)
                .into());
        }
    }
    Ok(())
}

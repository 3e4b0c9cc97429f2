//! One file per module. A new one is a file, a `mod` line and a word in `ALL`; a test fails when a file is not listed.
//!
//! Options that are accepted for compatibility and have no effect are read by nobody; their documentation says so.
#![allow(dead_code, reason = "arguments that are accepted without effect")]

mod acl;
mod alternatives;
mod apache2_module;
mod apk;
mod apt;
mod apt_key;
mod apt_repository;
mod archive;
mod assemble;
mod async_status;
pub(crate) mod async_wrapper;
mod at;
mod authorized_key;
mod blockinfile;
mod capabilities;
pub(crate) mod command;
mod composer;
mod copy;
mod cron;
mod crypttab;
mod deb822_repository;
mod debconf;
mod debops_dpkg_divert;
mod deploy_helper;
mod django_manage;
mod dnf;
mod dpkg_divert;
mod dpkg_selections;
mod expect;
mod file;
mod filesystem;
mod find;
mod firewalld;
mod foreign;
mod gem;
mod get_url;
mod getent;
mod git;
mod git_config;
mod group;
mod hostname;
mod htpasswd;
mod ini_file;
mod iptables;
mod known_hosts;
mod lineinfile;
mod locale_gen;
mod lvg;
mod lvol;
mod lxc_container;
mod mail;
mod make;
mod modprobe;
mod mount;
mod mount_facts;
mod mysql_db;
mod mysql_info;
mod mysql_query;
mod mysql_replication;
mod mysql_user;
mod mysql_variables;
mod npm;
mod openssh_keypair;
mod openssl_csr;
mod openssl_csr_info;
mod openssl_csr_pipe;
mod openssl_dhparam;
mod openssl_privatekey;
mod openssl_privatekey_info;
mod openssl_publickey;
mod openssl_publickey_info;
mod package;
mod package_facts;
mod pacman;
mod pam_limits;
mod pamd;
mod parted;
mod patch;
mod ping;
mod pip;
mod postgresql_db;
mod postgresql_ext;
mod postgresql_privs;
mod postgresql_query;
mod postgresql_schema;
mod postgresql_user;
mod rabbitmq_binding;
mod rabbitmq_exchange;
mod rabbitmq_feature_flag;
mod rabbitmq_global_parameter;
mod rabbitmq_parameter;
mod rabbitmq_plugin;
mod rabbitmq_policy;
mod rabbitmq_queue;
mod rabbitmq_user;
mod rabbitmq_user_limits;
mod rabbitmq_vhost;
mod rabbitmq_vhost_limits;
mod raw;
mod replace;
mod rpm_key;
mod seboolean;
mod sefcontext;
mod selinux;
mod selinux_permissive;
mod seport;
mod service;
mod service_facts;
mod setup;
mod shell;
mod slurp;
mod stat;
mod subversion;
mod supervisorctl;
mod synchronize;
mod sysctl;
mod systemd;
mod sysvinit;
mod tempfile;
mod timezone;
mod ufw;
mod unarchive;
mod uri;
mod user;
mod wait_for;
mod x509_certificate;
mod x509_certificate_info;
mod xml;
mod yum_repository;
mod zypper;
mod zypper_repository;

use crate::Module;

/// Every module.
pub(crate) static ALL: &[&Module] = &[
    &acl::MODULE,
    &alternatives::MODULE,
    &apache2_module::MODULE,
    &apk::MODULE,
    &apt::MODULE,
    &apt_key::MODULE,
    &apt_repository::MODULE,
    &archive::MODULE,
    &assemble::MODULE,
    &async_status::MODULE,
    &async_wrapper::MODULE,
    &at::MODULE,
    &authorized_key::MODULE,
    &blockinfile::MODULE,
    &capabilities::MODULE,
    &command::MODULE,
    &composer::MODULE,
    &copy::MODULE,
    &cron::MODULE,
    &crypttab::MODULE,
    &deb822_repository::MODULE,
    &debconf::MODULE,
    &debops_dpkg_divert::MODULE,
    &deploy_helper::MODULE,
    &django_manage::MODULE,
    &dnf::MODULE,
    &dpkg_divert::MODULE,
    &dpkg_selections::MODULE,
    &expect::MODULE,
    &file::MODULE,
    &filesystem::MODULE,
    &find::MODULE,
    &firewalld::MODULE,
    &foreign::MODULE,
    &gem::MODULE,
    &get_url::MODULE,
    &getent::MODULE,
    &git::MODULE,
    &git_config::MODULE,
    &group::MODULE,
    &hostname::MODULE,
    &htpasswd::MODULE,
    &ini_file::MODULE,
    &iptables::MODULE,
    &known_hosts::MODULE,
    &lineinfile::MODULE,
    &locale_gen::MODULE,
    &lvg::MODULE,
    &lvol::MODULE,
    &lxc_container::MODULE,
    &mail::MODULE,
    &make::MODULE,
    &modprobe::MODULE,
    &mount::MODULE,
    &mount_facts::MODULE,
    &mysql_db::MODULE,
    &mysql_info::MODULE,
    &mysql_query::MODULE,
    &mysql_replication::MODULE,
    &mysql_user::MODULE,
    &mysql_variables::MODULE,
    &npm::MODULE,
    &openssh_keypair::MODULE,
    &openssl_csr::MODULE,
    &openssl_csr_info::MODULE,
    &openssl_csr_pipe::MODULE,
    &openssl_dhparam::MODULE,
    &openssl_privatekey::MODULE,
    &openssl_privatekey_info::MODULE,
    &openssl_publickey::MODULE,
    &openssl_publickey_info::MODULE,
    &package::MODULE,
    &package_facts::MODULE,
    &pacman::MODULE,
    &pam_limits::MODULE,
    &pamd::MODULE,
    &parted::MODULE,
    &patch::MODULE,
    &ping::MODULE,
    &pip::MODULE,
    &postgresql_db::MODULE,
    &postgresql_ext::MODULE,
    &postgresql_privs::MODULE,
    &postgresql_query::MODULE,
    &postgresql_schema::MODULE,
    &postgresql_user::MODULE,
    &rabbitmq_binding::MODULE,
    &rabbitmq_exchange::MODULE,
    &rabbitmq_feature_flag::MODULE,
    &rabbitmq_global_parameter::MODULE,
    &rabbitmq_parameter::MODULE,
    &rabbitmq_plugin::MODULE,
    &rabbitmq_policy::MODULE,
    &rabbitmq_queue::MODULE,
    &rabbitmq_user::MODULE,
    &rabbitmq_user_limits::MODULE,
    &rabbitmq_vhost::MODULE,
    &rabbitmq_vhost_limits::MODULE,
    &raw::MODULE,
    &replace::MODULE,
    &rpm_key::MODULE,
    &seboolean::MODULE,
    &sefcontext::MODULE,
    &selinux::MODULE,
    &selinux_permissive::MODULE,
    &seport::MODULE,
    &service::MODULE,
    &service_facts::MODULE,
    &setup::MODULE,
    &shell::MODULE,
    &slurp::MODULE,
    &stat::MODULE,
    &subversion::MODULE,
    &supervisorctl::MODULE,
    &synchronize::MODULE,
    &sysctl::MODULE,
    &systemd::MODULE,
    &sysvinit::MODULE,
    &tempfile::MODULE,
    &timezone::MODULE,
    &ufw::MODULE,
    &unarchive::MODULE,
    &uri::MODULE,
    &user::MODULE,
    &wait_for::MODULE,
    &x509_certificate::MODULE,
    &x509_certificate_info::MODULE,
    &xml::MODULE,
    &yum_repository::MODULE,
    &zypper::MODULE,
    &zypper_repository::MODULE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_under_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/modules");
        for path in bakery_host::fs::read_dir(folder).expect("readable") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let is_of = |m: &&Module| {
                m.name == name
                    || m.full_name()
                        .split_once('.')
                        .is_some_and(|(space, _)| format!("{space}_{}", m.name) == name)
            };
            assert!(name == "mod" || ALL.iter().any(is_of), "{name} is not in ALL");
        }
    }

    #[test]
    fn every_module_is_documented() {
        for module in ALL {
            let doc = module.doc();
            assert!(!doc.summary.is_empty(), "{} has no summary", module.name);
            for arg in doc.args {
                assert!(!arg.doc.is_empty(), "{}.{} has no documentation", module.name, arg.name);
            }
        }
    }
}

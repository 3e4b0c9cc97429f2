//! `yum_repository`: a section of a file in /etc/yum.repos.d (`ansible/modules/yum_repository.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds or removes a repository of yum and dnf.
#[derive(ModuleArgs)]
struct Args {
    /// The repository's id.
    #[arg(required)]
    name: String,
    /// A sentence for people; needed to add one.
    description: Option<String>,
    /// Addresses of the packages.
    baseurl: Option<Vec<String>>,
    /// The address of a list of mirrors.
    mirrorlist: Option<String>,
    /// The address of a metalink.
    metalink: Option<String>,
    /// Whether the repository is used.
    enabled: Option<bool>,
    /// Whether packages' signatures are checked.
    gpgcheck: Option<bool>,
    /// Addresses of keys.
    gpgkey: Option<Vec<String>>,
    /// Whether the repository's own signature is checked.
    repo_gpgcheck: Option<bool>,
    /// Whether certificates are checked.
    #[arg(alias = "validate_certs")]
    sslverify: Option<bool>,
    /// Packages not to take from here.
    #[arg(alias = "excludepkgs")]
    exclude: Option<Vec<String>>,
    /// Packages to take from here only.
    includepkgs: Option<Vec<String>>,
    /// The repository's priority.
    priority: Option<String>,
    /// The repository's cost.
    cost: Option<String>,
    /// A proxy's address.
    proxy: Option<String>,
    /// When the meta-data is too old.
    metadata_expire: Option<String>,
    /// Whether the repository may be missing.
    skip_if_unavailable: Option<bool>,
    /// Whether modules hide packages of this repository.
    module_hotfixes: Option<bool>,
    /// Accepted, but no longer known to dnf.
    r#async: Option<bool>,
    /// The most that is fetched in a second, with `throttle`.
    bandwidth: Option<String>,
    /// Whether the system counts itself there.
    countme: Option<bool>,
    /// How large meta-data of differences may be.
    deltarpm_metadata_percentage: Option<String>,
    /// How large differences may be.
    deltarpm_percentage: Option<String>,
    /// Whether its groups are used.
    enablegroups: Option<bool>,
    /// Which address is tried first.
    #[arg(choices = "roundrobin,priority")]
    failovermethod: Option<String>,
    /// The address of the key that signs keys.
    gpgcakey: Option<String>,
    /// What caches between may keep.
    #[arg(choices = "all,packages,none")]
    http_caching: Option<String>,
    /// Another configuration.
    include: Option<String>,
    /// Which addresses of names are used.
    #[arg(choices = "4,6,IPv4,IPv6,whatever")]
    ip_resolve: Option<String>,
    /// Whether connections are kept.
    keepalive: Option<bool>,
    /// Whether packages are kept.
    #[arg(choices = "0,1")]
    keepcache: Option<String>,
    /// Which commands may use old meta-data.
    #[arg(choices = "never,read-only:past,read-only:present,read-only:future")]
    metadata_expire_filter: Option<String>,
    /// When the list of mirrors is too old.
    mirrorlist_expire: Option<String>,
    /// The password.
    #[arg(secret)]
    password: Option<String>,
    /// Whether its packages are kept from others.
    protect: Option<bool>,
    /// The proxy's password.
    #[arg(secret)]
    proxy_password: Option<String>,
    /// The proxy's user.
    proxy_username: Option<String>,
    /// How often it is tried.
    retries: Option<String>,
    /// Whether it is in S3.
    s3_enabled: Option<bool>,
    /// Whether certificates' permissions are checked.
    ssl_check_cert_permissions: Option<bool>,
    /// Certificates to check against.
    #[arg(alias = "ca_cert")]
    sslcacert: Option<String>,
    /// The client's certificate.
    #[arg(alias = "client_cert")]
    sslclientcert: Option<String>,
    /// The client's key.
    #[arg(alias = "client_key")]
    sslclientkey: Option<String>,
    /// How much of the bandwidth is used.
    throttle: Option<String>,
    /// Seconds to wait.
    timeout: Option<String>,
    /// Variables that are shown with the id.
    ui_repoid_vars: Option<String>,
    /// The user.
    username: Option<String>,
    /// The file's name without `.repo`; the id if not given.
    file: Option<String>,
    /// The folder of the file.
    #[arg(default = "/etc/yum.repos.d")]
    reposdir: String,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Accepted and without meaning.
    params: Option<Value>,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn run(args: Args, host: &mut Host) -> Run {
    let folder = host.path(&args.reposdir);
    if !folder.is_dir() {
        return Err(Failure::new(format!("Repo directory '{}' does not exist.", folder.display())));
    }
    let file = args.file.clone().unwrap_or_else(|| args.name.clone());
    let path = host.path(&args.reposdir).join(format!("{file}.repo"));
    let text =
        host.read_optional(&path)?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match line.trim().strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            Some(name) => sections.push((name.to_owned(), String::new())),
            None => {
                if let Some((_, body)) = sections.last_mut()
                    && !line.trim().is_empty()
                {
                    body.push_str(line);
                    body.push('\n');
                }
            }
        }
    }
    sections.retain(|(name, _)| *name != args.name);
    if args.state == "present" {
        if args.baseurl.is_none() && args.mirrorlist.is_none() && args.metalink.is_none() {
            return Err("Parameter 'baseurl', 'metalink' or 'mirrorlist' is required.".into());
        }
        let Some(description) = &args.description else {
            return Err("Parameter 'description' is required.".into());
        };
        let flag = |b: Option<bool>| b.map(|b| String::from(if b { "1" } else { "0" }));
        let list = |l: &Option<Vec<String>>| l.as_ref().map(|l| l.join("\n    "));
        let mut options = vec![
            ("baseurl", list(&args.baseurl)),
            ("cost", args.cost.clone()),
            ("enabled", flag(args.enabled)),
            ("exclude", args.exclude.as_ref().map(|l| l.join(" "))),
            ("gpgcheck", flag(args.gpgcheck)),
            ("gpgkey", list(&args.gpgkey)),
            ("includepkgs", args.includepkgs.as_ref().map(|l| l.join(" "))),
            ("metadata_expire", args.metadata_expire.clone()),
            ("metalink", args.metalink.clone()),
            ("mirrorlist", args.mirrorlist.clone()),
            ("module_hotfixes", flag(args.module_hotfixes)),
            ("name", Some(description.clone())),
            ("priority", args.priority.clone()),
            ("proxy", args.proxy.clone()),
            ("repo_gpgcheck", flag(args.repo_gpgcheck)),
            ("skip_if_unavailable", flag(args.skip_if_unavailable)),
            ("sslverify", flag(args.sslverify)),
            ("async", flag(args.r#async)),
            ("bandwidth", args.bandwidth.clone()),
            ("countme", flag(args.countme)),
            ("deltarpm_metadata_percentage", args.deltarpm_metadata_percentage.clone()),
            ("deltarpm_percentage", args.deltarpm_percentage.clone()),
            ("enablegroups", flag(args.enablegroups)),
            ("failovermethod", args.failovermethod.clone()),
            ("gpgcakey", args.gpgcakey.clone()),
            ("http_caching", args.http_caching.clone()),
            ("include", args.include.clone()),
            ("ip_resolve", args.ip_resolve.clone()),
            ("keepalive", flag(args.keepalive)),
            ("keepcache", args.keepcache.clone()),
            ("metadata_expire_filter", args.metadata_expire_filter.clone()),
            ("mirrorlist_expire", args.mirrorlist_expire.clone()),
            ("password", args.password.clone()),
            ("protect", flag(args.protect)),
            ("proxy_password", args.proxy_password.clone()),
            ("proxy_username", args.proxy_username.clone()),
            ("retries", args.retries.clone()),
            ("s3_enabled", flag(args.s3_enabled)),
            ("ssl_check_cert_permissions", flag(args.ssl_check_cert_permissions)),
            ("sslcacert", args.sslcacert.clone()),
            ("sslclientcert", args.sslclientcert.clone()),
            ("sslclientkey", args.sslclientkey.clone()),
            ("throttle", args.throttle.clone()),
            ("timeout", args.timeout.clone()),
            ("ui_repoid_vars", args.ui_repoid_vars.clone()),
            ("username", args.username.clone()),
        ];
        options.sort_by_key(|(name, _)| *name);
        let body = options.into_iter().filter_map(|(k, v)| v.map(|v| format!("{k} = {v}\n"))).collect();
        sections.push((args.name.clone(), body));
    }
    sections.sort();
    let new: String = sections.iter().map(|(name, body)| format!("[{name}]\n{body}\n")).collect();
    let changed = if new.is_empty() {
        let there = path.exists();
        if there && !host.check {
            bakery_host::fs::remove_file(&path)?;
        }
        there
    } else {
        if !host.check {
            bakery_host::fs::create_dir_all(host.path(&args.reposdir))?;
        }
        host.replace(&path, new.as_bytes(), &Replace::default())?.0
            | host.attributes(&path, &args.attributes)?
    };
    Ok(Outcome::changed(changed).with("repo", args.name).with("state", args.state))
}

module!("yum_repository", "ansible.builtin", Args, run);

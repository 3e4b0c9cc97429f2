//! AMIs and what they are made on (`builder/common` of Packer's plugin for Amazon).

use super::Rules;
use crate::options::Keys;

const BLOCK_DEVICE: Keys = &[
    "delete_on_termination",
    "device_name",
    "encrypted",
    "iops",
    "kms_key_id",
    "no_device",
    "snapshot_id",
    "throughput",
    "virtual_name",
    "volume_size",
    "volume_type",
    "volume_initialization_rate",
    "omit_from_artifact",
    "tags",
    "tag",
    "snapshot_volume",
    "snapshot_description",
    "snapshot_tags",
    "snapshot_tag",
    "snapshot_users",
    "snapshot_groups",
];

const FILTER: Keys = &["filters", "filter"];

/// Options that are maps with options of their own.
const NESTED: &[(&str, Keys)] = &[
    ("launch_block_device_mappings", BLOCK_DEVICE),
    ("ami_block_device_mappings", BLOCK_DEVICE),
    ("ebs_volumes", BLOCK_DEVICE),
    (
        "ami_root_device",
        &[
            "source_device_name",
            "device_name",
            "delete_on_termination",
            "iops",
            "throughput",
            "volume_type",
            "volume_size",
        ],
    ),
    ("source_ami_filter", &["filters", "filter", "owners", "most_recent", "include_deprecated"]),
    ("subnet_filter", &["filters", "filter", "most_free", "random"]),
    ("vpc_filter", FILTER),
    ("security_group_filter", FILTER),
    (
        "assume_role",
        &[
            "role_arn",
            "duration_seconds",
            "external_id",
            "policy",
            "policy_arns",
            "session_name",
            "tags",
            "transitive_tag_keys",
        ],
    ),
    ("aws_polling", &["max_attempts", "delay_seconds"]),
    ("vault_aws_engine", &["name", "role_arn", "ttl", "engine_name"]),
    (
        "metadata_options",
        &["http_endpoint", "http_tokens", "http_put_response_hop_limit", "instance_metadata_tags"],
    ),
    ("placement", &["host_resource_group_arn", "host_id", "tenancy"]),
    ("license_specifications", &["license_configuration_request"]),
    ("deregistration_protection", &["enabled", "with_cooldown"]),
    (
        "fast_launch",
        &[
            "enable_fast_launch",
            "template_id",
            "template_name",
            "template_version",
            "region_launch_templates",
            "max_parallel_launches",
            "target_resource_count",
        ],
    ),
    ("temporary_iam_instance_profile_policy_document", &["Version", "Statement"]),
];

/// Options that map names to values.
const TAGS: Keys = &[
    "tags",
    "run_tags",
    "run_volume_tags",
    "spot_tags",
    "fleet_tags",
    "snapshot_tags",
    "root_volume_tags",
    "region_kms_key_ids",
];

/// Signs that an AMI's name may have besides letters and digits.
const NAME_SIGNS: &str = " ()[]./-'@_";

impl Rules<'_> {
    pub(super) fn ec2(&mut self) {
        let kind = self.builder.kind.clone();
        let (is_chroot, is_volume) = (kind == "amazon-chroot", kind == "amazon-ebsvolume");
        for (key, known) in NESTED {
            self.keys_within(key, known);
        }
        for key in TAGS {
            self.is_map(key);
        }
        if self.has("access_key") != self.has("secret_key") {
            self.complain("`access_key` and `secret_key` must be specified together");
        }
        if !is_volume {
            self.ami();
        }
        if is_chroot {
            self.chroot();
        } else {
            self.source();
            self.instance();
            self.communicator(false);
        }
        self.devices();
        match kind.as_str() {
            "amazon-ebssurrogate" => self.surrogate(),
            "amazon-instance" => {
                for key in ["account_id", "s3_bucket", "x509_cert_path", "x509_key_path"] {
                    self.needs(key);
                }
                self.exists("x509_cert_path");
                self.exists("x509_key_path");
            }
            _ => {}
        }
    }

    fn ami(&mut self) {
        let name = self.text("ami_name");
        if name.contains("{{") {
            // What is only known when it is built.
        } else if name.is_empty() {
            self.needs("ami_name");
        } else if !(3..=128).contains(&name.len()) {
            self.complain("`ami_name` must have 3 to 128 characters");
        } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || NAME_SIGNS.contains(c)) {
            self.complain(format!(
                "`ami_name` is `{name}`: letters, digits and {NAME_SIGNS} are allowed; the function `clean_resource_name` replaces others"
            ));
        }
        let encrypted = self.flag("encrypt_boot");
        let by_region =
            self.maps("region_kms_key_ids").first().map(bakery_lang::Map::pairs).unwrap_or_default();
        let by_region: Vec<(String, String)> =
            by_region.into_iter().map(|(region, key)| (region.to_string(), key.to_string())).collect();
        let key = self.text("kms_key_id");
        if (!key.is_empty() || !by_region.is_empty()) && !encrypted {
            self.complain("`kms_key_id` and `region_kms_key_ids` need `encrypt_boot`");
        }
        for key in by_region.iter().map(|(_, key)| key).chain([&key]) {
            if !key.is_empty() && !is_kms_key(key) {
                self.complain(format!("`{key}` is no id of a KMS key"));
            }
        }
        if !by_region.is_empty() {
            let regions = self.builder.list("ami_regions");
            for (region, _) in by_region.iter().filter(|(region, _)| !regions.contains(region)) {
                self.complain(format!("{region} is in `region_kms_key_ids` but not in `ami_regions`"));
            }
            for region in regions.iter().filter(|region| !by_region.iter().any(|(other, _)| other == *region))
            {
                self.complain(format!("{region} is in `ami_regions` but not in `region_kms_key_ids`"));
            }
        }
        let default_key = encrypted && (key.is_empty() || by_region.iter().any(|(_, key)| key.is_empty()));
        for shared in ["ami_users", "ami_org_arns", "ami_ou_arns", "snapshot_users"] {
            if default_key && self.has(shared) {
                self.complain(format!(
                    "`{shared}`: what is encrypted with the default KMS key cannot be shared"
                ));
            }
        }
        self.one_of("imds_support", &["v2.0"]);
        self.one_of("tpm_support", &["v2.0"]);
        self.one_of("boot_mode", &["legacy-bios", "uefi", "uefi-preferred"]);
        let until = self.text("deprecate_at");
        if !until.is_empty() && !until.contains("{{") && until.parse::<jiff::Timestamp>().is_err() {
            self.complain(format!(
                "`deprecate_at` is `{until}`, which is no time (such as 2030-12-31T23:59:59Z)"
            ));
        }
    }

    /// What an instance starts from.
    fn source(&mut self) {
        let filter = self.maps("source_ami_filter");
        let has_filter = filter.iter().any(|map| !map.is_empty());
        if !self.has("source_ami") && !has_filter {
            self.complain("one of `source_ami` and `source_ami_filter` must be specified");
        } else if has_filter
            && !filter.iter().any(|map| map.get("owners").is_some_and(|owners| owners.is_true()))
        {
            self.complain("`source_ami_filter` must name `owners`: anybody may publish an AMI of any name");
        }
    }

    fn instance(&mut self) {
        let kind = self.text("instance_type");
        match (kind.is_empty(), self.has("spot_instance_types")) {
            (true, false) => {
                self.complain("one of `instance_type` and `spot_instance_types` must be specified");
            }
            (false, true) => self.not_both("instance_type", "spot_instance_types"),
            _ => {}
        }
        let is_spot =
            !matches!(self.text("spot_price").as_str(), "" | "0") || self.has("spot_instance_types");
        if !is_spot && self.has("spot_tags") {
            self.complain("`spot_tags` are for spot instances (`spot_price`)");
        }
        if is_spot && (self.flag("ena_support") || self.flag("sriov_support")) {
            self.complain("spot instances cannot be modified, as `ena_support` and `sriov_support` want");
        }
        self.not_both("user_data", "user_data_file");
        self.exists("user_data_file");
        self.not_both("security_group_id", "security_group_ids");
        if self.has("ssh_keypair_name") && !self.has("ssh_private_key_file") && !self.flag("ssh_agent_auth") {
            self.complain("`ssh_keypair_name` needs `ssh_private_key_file` or `ssh_agent_auth`");
        }
        self.one_of(
            "ssh_interface",
            &["public_ip", "private_ip", "public_dns", "private_dns", "ipv6", "session_manager"],
        );
        self.one_of("shutdown_behavior", &["stop", "terminate"]);
        self.one_of("tenancy", &["default", "dedicated", "host"]);
        if self.text("block_duration_minutes").parse::<i64>().is_ok_and(|minutes| minutes % 60 != 0) {
            self.complain("`block_duration_minutes` must be a multiple of 60");
        }
        if self.flag("enable_t2_unlimited") {
            if !kind.starts_with("t2.") {
                self.complain(format!("`enable_t2_unlimited` is for instances of the family t2, not {kind}"));
            }
            if is_spot {
                self.complain("`enable_t2_unlimited` is not for spot instances");
            }
        }
        for cidr in self.builder.list("temporary_security_group_source_cidrs") {
            if !is_cidr(&cidr) && !cidr.contains("{{") {
                self.complain(format!(
                    "`temporary_security_group_source_cidrs` has `{cidr}`, which is no CIDR block"
                ));
            }
        }
        for options in self.maps("metadata_options") {
            let text = |key: &str| options.get(key).map(|value| value.to_string()).unwrap_or_default();
            for (key, known) in [
                ("http_endpoint", ["enabled", "disabled"]),
                ("http_tokens", ["optional", "required"]),
                ("instance_metadata_tags", ["enabled", "disabled"]),
            ] {
                let value = text(key);
                if !value.is_empty() && !known.contains(&value.as_str()) {
                    self.complain(format!(
                        "`metadata_options.{key}` is `{value}` (known: {})",
                        known.join(", ")
                    ));
                }
            }
            let hops = text("http_put_response_hop_limit");
            if !hops.is_empty() && !hops.parse::<u32>().is_ok_and(|hops| (1..=64).contains(&hops)) {
                self.complain(format!(
                    "`metadata_options.http_put_response_hop_limit` is `{hops}` (1 to 64)"
                ));
            }
        }
    }

    fn devices(&mut self) {
        for key in ["launch_block_device_mappings", "ami_block_device_mappings", "ebs_volumes"] {
            for device in self.maps(key) {
                let text = |name: &str| device.get(name).map(|value| value.to_string()).unwrap_or_default();
                if text("device_name").is_empty() {
                    self.complain(format!("`{key}`: every device must have a `device_name`"));
                }
            }
        }
    }

    fn surrogate(&mut self) {
        let root = self.maps("ami_root_device").first().cloned().unwrap_or_default();
        let text =
            |map: &bakery_lang::Map, key: &str| map.get(key).map(|v| v.to_string()).unwrap_or_default();
        for key in ["source_device_name", "device_name"] {
            if text(&root, key).is_empty() {
                self.complain(format!("`ami_root_device.{key}` must be specified"));
            }
        }
        let source = text(&root, "source_device_name");
        let devices = self.maps("launch_block_device_mappings");
        if !source.is_empty() && !devices.iter().any(|device| text(device, "device_name") == source) {
            self.complain(format!(
                "`launch_block_device_mappings` has no device {source}, which `ami_root_device` names"
            ));
        }
        self.needs("ami_virtualization_type");
    }

    fn chroot(&mut self) {
        if self.flag("from_scratch") {
            for key in [
                "root_volume_size",
                "pre_mount_commands",
                "ami_virtualization_type",
                "root_device_name",
                "ami_block_device_mappings",
            ] {
                self.needs(key);
            }
        } else {
            self.source();
        }
    }
}

/// An id, an alias, or the ARN of either.
fn is_kms_key(key: &str) -> bool {
    let key = match key.strip_prefix("arn:") {
        Some(arn) => arn.splitn(5, ':').last().unwrap_or_default(),
        None => key,
    };
    let key = key.strip_prefix("key/").unwrap_or(key);
    if let Some(alias) = key.strip_prefix("alias/") {
        return !alias.is_empty() && alias.chars().all(|c| c.is_ascii_alphanumeric() || ":/_-".contains(c));
    }
    let hex = |text: &str| text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
    if let Some(digits) = key.strip_prefix("mrk-") {
        return digits.len() == 32 && hex(digits);
    }
    let lengths: Vec<usize> = key.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && key.split('-').all(hex)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_ipv4() => 32,
        Ok(_) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}

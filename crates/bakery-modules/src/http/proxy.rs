//! Which proxy leads to an address: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` (`getproxies_environment` and `proxy_bypass_environment` in Python's `urllib/request.py`).

use url::Url;

/// The proxy for an address, if a variable of the environment names one.
///
/// # Errors
/// When what it names is none.
pub(super) fn of(
    url: &Url,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<ureq::Proxy>, String> {
    // Small letters count before capitals.
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_uppercase()));
    let Some(proxy) = either(&format!("{}_proxy", url.scheme())).or_else(|| either("all_proxy")) else {
        return Ok(None);
    };
    if either("no_proxy").is_some_and(|list| is_excepted(&list, url)) {
        return Ok(None);
    }
    ureq::Proxy::new(&proxy)
        .map(Some)
        .map_err(|e| format!("the proxy '{}' is none: {e}", super::masked(&proxy)))
}

/// Whether a list of `no_proxy` names an address's host, or a domain that it is in.
fn is_excepted(list: &str, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().to_lowercase();
    let with_port = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    list.split(',').map(|name| name.trim().trim_start_matches('.').to_lowercase()).any(|name| {
        let fits = |host: &str| host == name || host.ends_with(&format!(".{name}"));
        !name.is_empty() && (list.trim() == "*" || fits(&host) || fits(&with_port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_excepted_as_python_excepts_them() {
        let is = |list: &str, url: &str| is_excepted(list, &Url::parse(url).expect("an address"));
        assert!(is("localhost, .example.org", "http://www.example.org/x"));
        assert!(is("example.org", "http://example.org:8080/"));
        assert!(is("example.org:8080", "http://example.org:8080/"));
        assert!(is("*", "http://any/"));
        assert!(!is("example.org:81", "http://example.org:8080/"));
        assert!(!is("ample.org", "http://example.org/"));
        assert!(!is("", "http://example.org/"));
    }

    #[test]
    fn variables_name_the_proxy_and_what_needs_none() {
        let url = Url::parse("https://example.org/").expect("an address");
        let told = |pairs: &[(&str, &str)]| {
            let variable = |name: &str| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
            of(&url, &variable).map(|proxy| proxy.map(|proxy| proxy.host().to_owned()))
        };
        assert_eq!(told(&[("https_proxy", "http://one:3128")]), Ok(Some("one".into())));
        assert_eq!(told(&[("https_proxy", "http://one:3128"), ("no_proxy", "example.org")]), Ok(None));
        assert!(told(&[("https_proxy", "gopher://one")]).is_err());
    }
}

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allowing(networks: &[&str]) -> AddressRules {
    let allow = networks.iter().map(|network| network.parse().unwrap()).collect();
    AddressRules {
        allow,
        ..AddressRules::default()
    }
}

#[test]
fn public_addresses_are_allowed() {
    for text in [
        "1.1.1.1",
        "93.184.216.34",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
    ] {
        assert_eq!(AddressRules::default().check(ip(text)), Ok(()), "{text}");
    }
}

#[test]
fn every_form_that_leads_inside_is_refused() {
    let inside = [
        "127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "127.255.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::",
        "64:ff9b::1.1.1.1",
        "2002:7f00:1::",
        "2001::",
        "2001:0:1::1",
        "2001:db8::1",
        "100::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "::ffff:0:127.0.0.1",
    ];
    for text in inside {
        assert!(AddressRules::default().check(ip(text)).is_err(), "{text}");
    }
}

#[test]
fn a_refusal_names_the_network_and_why() {
    let refused = AddressRules::default().check(ip("10.1.2.3")).unwrap_err();
    assert_eq!(
        (refused.network.to_string().as_str(), refused.why),
        ("10.0.0.0/8", "private")
    );
}

#[test]
fn dev_allows_loopback_and_private_networks_and_nothing_else() {
    let dev = AddressRules::dev();
    for text in [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "172.31.0.1",
        "192.168.0.1",
        "fd12::1",
        "::ffff:127.0.0.1",
    ] {
        assert_eq!(dev.check(ip(text)), Ok(()), "{text}");
    }
    for text in [
        "0.0.0.0",
        "169.254.1.1",
        "169.254.169.254",
        "fd00:ec2::254",
        "100.64.0.1",
        "fe80::1",
        "::",
    ] {
        assert!(dev.check(ip(text)).is_err(), "{text}");
    }
}

#[test]
fn what_the_operator_denies_wins_over_what_is_allowed() {
    let mut rules = allowing(&["10.0.0.0/8"]);
    rules.deny = vec!["10.9.0.0/16".parse().unwrap(), "1.1.1.0/24".parse().unwrap()];
    assert_eq!(rules.check(ip("10.1.0.1")), Ok(()));
    assert!(rules.check(ip("10.9.0.1")).is_err());
    assert!(rules.check(ip("::ffff:10.9.0.1")).is_err());
    assert!(rules.check(ip("1.1.1.1")).is_err());
}

#[test]
fn what_an_allowed_form_carries_is_checked_too() {
    let rules = allowing(&["64:ff9b::/96", "2002::/16", "2001::/32"]);
    assert_eq!(rules.check(ip("64:ff9b::1.1.1.1")), Ok(()));
    assert_eq!(rules.check(ip("2002:101:101::")), Ok(()));
    // Teredo: server 1.1.1.1 and client 1.1.1.1, the latter inverted.
    assert_eq!(rules.check(ip("2001:0:101:101::fefe:fefe")), Ok(()));
    for text in [
        "64:ff9b::10.0.0.1",
        "2002:a00:1::",
        "2001:0:101:101::f5ff:fffe",
        "2001:0:a00:1::fefe:fefe",
    ] {
        assert!(rules.check(ip(text)).is_err(), "{text}");
    }
}

#[test]
fn a_metadata_address_is_allowed_only_by_its_own_name() {
    assert!(
        allowing(&["169.254.0.0/16"])
            .check(ip("169.254.169.254"))
            .is_err()
    );
    assert!(allowing(&["0.0.0.0/0"]).check(ip("169.254.169.254")).is_err());
    assert_eq!(
        allowing(&["169.254.169.254/32"]).check(ip("169.254.169.254")),
        Ok(())
    );
}

#[test]
fn blocked_names_are_refused_until_their_network_is_allowed() {
    for name in [
        "localhost",
        "localhost.",
        "x.localhost",
        "metadata.google.internal",
        "metadata.google.internal.",
    ] {
        assert!(AddressRules::default().check_name(name).is_err(), "{name}");
    }
    assert_eq!(AddressRules::dev().check_name("x.localhost"), Ok(()));
    assert!(
        AddressRules::dev()
            .check_name("metadata.google.internal")
            .is_err()
    );
    assert_eq!(AddressRules::default().check_name("notlocalhost"), Ok(()));
    assert_eq!(AddressRules::default().check_name("example.com"), Ok(()));
}

#[test]
fn our_own_listener_is_refused_even_where_its_network_is_allowed() {
    let mut rules = AddressRules::dev();
    rules.deny_endpoint = vec!["127.0.0.1:8787".parse().unwrap(), "0.0.0.0:9000".parse().unwrap()];
    for remote in [
        "127.0.0.1:8787",
        "[::ffff:127.0.0.1]:8787",
        "127.0.0.1:9000",
        "[::1]:9000",
    ] {
        assert!(rules.check_socket(remote.parse().unwrap()).is_err(), "{remote}");
    }
    assert_eq!(rules.check_socket("127.0.0.1:8788".parse().unwrap()), Ok(()));
    let lan: SocketAddr = "192.168.1.5:9000".parse().unwrap();
    assert_eq!(rules.check_socket(lan), Ok(()));
    assert!(rules.is_own_listener("192.168.1.5:40000".parse().unwrap(), lan));
    assert!(!rules.is_own_listener("192.168.1.6:40000".parse().unwrap(), lan));
}

//! Schemes and secrets on the command line.

use super::*;

#[test]
fn an_endpoint_is_added_with_schemes_and_its_secret_rotated() {
    let (dir, server) = started();
    let file = dir.path().join("secret");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let from_file = format!("github=@{}", file.display());
    let add = [
        "endpoint",
        "add",
        "http://127.0.0.1:9/",
        "--scheme",
        "standard",
        "--scheme",
        &from_file,
    ];
    let added = document(&server, &add);
    let endpoint = id(&added);
    assert_eq!(
        added["signatures"][1],
        json!({"scheme": "github", "secret": "from-a-file"})
    );
    let old = added["signatures"][0]["secret"].as_str().unwrap();
    let rotate = ["endpoint", "secret", "rotate", endpoint];
    let (code, told) = failed(&server, &rotate);
    assert_eq!(code, Some(1));
    assert!(told.contains("scheme") && told.contains("github"), "{told}");
    let rotate = [
        &rotate[..],
        &["--scheme", "standard", "--algorithm", "ed25519", "--grace", "2h"],
    ]
    .concat();
    let shown = printed(&server, &rotate);
    let new = detail(&shown, "secret");
    assert!(new.starts_with("whsk_"), "{shown}");
    let secrets = document(&server, &["endpoint", "secret", endpoint]);
    assert_eq!(
        (
            &secrets["signatures"][0]["secret"],
            &secrets["retired"][0]["secret"]
        ),
        (&json!(new), &json!(old))
    );
    let keys = document(&server, &["endpoint", "public-key", endpoint]);
    let key = keys["keys"][0]["public_key"].as_str().unwrap();
    assert_eq!(key, detail(&shown, "public_key"));
    let set = ["endpoint", "set", endpoint, "--scheme", "none"];
    assert_eq!(document(&server, &set)["signatures"], json!([]));
    let set = ["endpoint", "set", endpoint, "--algorithm", "ed25519"];
    assert_eq!(document(&server, &set)["signatures"][0]["algorithm"], "ed25519");
}

#[test]
fn whoever_adds_an_endpoint_is_told_what_its_receiver_needs() {
    let (_dir, server) = started();
    let told = |arguments: &[&str]| {
        let add = ["endpoint", "add", "http://127.0.0.1:9/"];
        text(&run(&server, &[&add, arguments].concat()).stderr)
    };
    let hmac = told(&[]);
    assert!(hmac.contains("give the secret to the receiver"), "{hmac}");
    let pair = told(&["--algorithm", "ed25519"]);
    assert!(
        pair.contains("keep the whsk_ secret") && !pair.contains("give the secret"),
        "{pair}"
    );
    assert_eq!(told(&["--scheme", "none"]), "");
    let two = told(&["--scheme", "github", "--scheme", "stripe"]);
    assert_eq!(two.lines().count(), 1, "{two}");
}

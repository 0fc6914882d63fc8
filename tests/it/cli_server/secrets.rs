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
    let set = ["endpoint", "set", endpoint, "--scheme", "none"];
    assert_eq!(document(&server, &set)["signatures"], json!([]));
    let set = ["endpoint", "set", endpoint, "--algorithm", "ed25519"];
    assert_eq!(document(&server, &set)["signatures"][0]["algorithm"], "ed25519");
}

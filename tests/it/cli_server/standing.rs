//! How the server and its folder stand.

use super::*;

#[test]
fn status_and_check_tell_how_the_server_and_its_folder_stand() {
    let (dir, mut server) = started();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    server.endpoint(&json!({"url": "http://127.0.0.1:9/", "enabled": false}));
    server.event(&json!({"type": "a", "data": 1}));
    let shown = printed(&server, &["status"]);
    assert_eq!(
        [
            detail(&shown, "state"),
            detail(&shown, "events"),
            detail(&shown, "deliveries.held"),
            detail(&shown, "endpoints.paused")
        ],
        ["ready", "1", "1", "1"]
    );
    assert_eq!(
        document(&server, &["status"])["version"],
        env!("CARGO_PKG_VERSION")
    );
    let (code, told) = failed(&server, &["check", "--data", data]);
    assert_eq!(code, Some(1));
    assert!(told.contains("another posthaste is running"), "{told}");
    server.stop();
    let whole = printed(&server, &["check", "--data", data]);
    assert!(
        whole.starts_with("journal: 1 segment, 2 records, ") && whole.contains("\nstore: "),
        "{whole}"
    );
    let (code, told) = failed(&server, &["status"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("no server listens at"), "{told}");
}

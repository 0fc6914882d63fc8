use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn proved() -> Tried {
    Tried::Proved {
        allowed_per_minute: None,
    }
}

fn failed(blame: Blame) -> Tried {
    let error = Shortfall {
        reason: "reset".to_owned(),
        status: None,
        detail: "x".to_owned(),
    };
    Tried::Failed(error, blame)
}

fn with_code() -> (Verification, String) {
    let code = Code::from_random([7]).unwrap();
    let digits = code.expose().to_owned();
    let verification = Verification {
        code: Some(code),
        ..Verification::pending(None)
    };
    (verification, digits)
}

/// Fails at each time that it is due, until it is not tried any more; answers the tries and how long they took.
fn fail_on(
    mut verification: Verification,
    handshake: Handshake,
    blame: Blame,
) -> (Verification, u32, Duration) {
    let started = verification.next_at.unwrap();
    let (mut tries, mut last) = (0, started);
    while let Some(at) = verification.next_at {
        assert!(tries < 100, "it is tried for ever");
        (tries, last) = (tries + 1, at);
        verification = verification.after(failed(blame), handshake, at, 0.5);
    }
    (verification, tries, last.since(started))
}

#[test]
fn a_first_proof_that_fails_for_a_passing_reason_is_tried_a_few_times_and_then_given_up() {
    let (given_up, tries, took) = fail_on(Verification::pending(Some(NOW)), Handshake::Ping, Blame::Passing);
    assert_eq!(given_up.state, VerificationState::Failed);
    assert_eq!(tries, 7);
    assert!(took > HOUR && took < 4 * HOUR, "{took:?}");
    let again = given_up
        .asked()
        .after(failed(Blame::Passing), Handshake::Ping, NOW, 0.5);
    assert!(again.next_at.is_some(), "asked for, it begins anew");
}

#[test]
fn a_wrong_answer_is_final_until_a_person_asks() {
    let pending = Verification::pending(Some(NOW));
    let wrong = pending.after(failed(Blame::Lasting), Handshake::Slack, NOW, 0.5);
    assert_eq!((wrong.state, wrong.next_at), (VerificationState::Failed, None));
    let right = wrong.asked().after(proved(), Handshake::Slack, NOW, 0.5);
    assert_eq!(
        (right.state, right.next_at, right.last_error),
        (VerificationState::Verified, None, None)
    );
}

#[test]
fn trouble_of_our_own_spends_nothing() {
    let mut verification = Verification::pending(Some(NOW));
    for _ in 0..50 {
        verification = verification.after(failed(Blame::Ours), Handshake::Ping, NOW, 0.5);
        assert_eq!(
            (verification.state, verification.failures),
            (VerificationState::Pending, 0)
        );
        assert!(verification.next_at.is_some());
    }
}

#[test]
fn a_zoom_proof_is_repeated_after_three_days_and_lost_only_after_some_hours_of_failures() {
    for blame in [Blame::Passing, Blame::Lasting] {
        let verified = Verification::pending(Some(NOW)).after(proved(), Handshake::Zoom, NOW, 0.5);
        assert_eq!(verified.next_at, Some(NOW.plus(72 * HOUR)));
        let once = verified.clone().after(failed(blame), Handshake::Zoom, NOW, 0.5);
        assert!(once.is_proved(), "one failure loses nothing");
        let well = once.after(proved(), Handshake::Zoom, NOW, 0.5);
        assert_eq!((well.failures, well.next_at), (0, Some(NOW.plus(72 * HOUR))));
        let (lost, tries, took) = fail_on(verified, Handshake::Zoom, blame);
        assert_eq!((lost.state, tries), (VerificationState::Failed, 6));
        assert!(took > 4 * HOUR && took < 12 * HOUR, "{took:?}");
    }
}

#[test]
fn a_proof_that_holds_for_good_is_not_lost_to_a_test_by_hand() {
    let verified = Verification::pending(None).after(proved(), Handshake::Ping, NOW, 0.5);
    for blame in [Blame::Ours, Blame::Passing, Blame::Lasting] {
        let after = verified
            .clone()
            .asked()
            .after(failed(blame), Handshake::Ping, NOW, 0.5);
        assert!(after.is_proved() && after.last_error.is_some());
        assert_eq!(after.next_at, None);
    }
}

#[test]
fn the_right_code_proves_and_the_fifth_wrong_one_voids_it() {
    let (mut verification, digits) = with_code();
    assert_eq!(
        verification.submit(&digits, Handshake::Ziggeo, NOW),
        Submitted::Right
    );
    assert_eq!(
        verification.submit(&digits, Handshake::Ziggeo, NOW),
        Submitted::NoCode
    );
    assert!(verification.is_proved());
    let (mut verification, digits) = with_code();
    for tries_left in (0..5).rev() {
        assert_eq!(verification.state, VerificationState::Pending);
        let wrong = verification.submit("000000", Handshake::Ziggeo, NOW);
        assert_eq!(wrong, Submitted::Wrong { tries_left });
    }
    assert_eq!(verification.state, VerificationState::Failed);
    assert_eq!(
        verification.submit(&digits, Handshake::Ziggeo, NOW),
        Submitted::NoCode
    );
}

#[test]
fn codes_are_six_digits_and_hidden() {
    for number in [0, 1, 899_999, 900_000, u32::MAX - u32::MAX % 900_000 - 1] {
        let code = Code::from_random([number]).unwrap();
        assert!(code.expose().len() == 6 && !code.expose().starts_with('0'));
        assert!(!format!("{code:?}").contains(code.expose()));
    }
    let fair = Code::from_random([u32::MAX, 3]).unwrap();
    assert_eq!(
        fair.expose(),
        "100003",
        "a number that would make low codes likelier is passed over"
    );
    assert!(Code::from_random([u32::MAX]).is_none());
}

#[test]
fn a_code_reads_back_what_was_written_and_a_failed_try_voids_it() {
    let (verification, _) = with_code();
    let text = serde_json::to_string(&verification).unwrap();
    assert_eq!(serde_json::from_str::<Verification>(&text).unwrap(), verification);
    let failed = verification.after(failed(Blame::Passing), Handshake::Ziggeo, NOW, 0.5);
    assert_eq!(failed.code, None);
    let oldest: Verification = serde_json::from_str(r#"{"state":"pending"}"#).unwrap();
    assert_eq!(oldest, Verification::pending(None));
}

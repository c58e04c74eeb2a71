//! What a rotation decides, upon what is known.

use super::super::issued::Given;
use super::*;

const NEW: &str = "new";
const OLD: &str = "old";
const DAY: u64 = 86_400;
const BEGUN: u64 = 10_000;

fn proxy(name: &str, belief: Belief) -> Proxy {
    Proxy {
        name: name.to_owned(),
        belief,
    }
}

fn given(name: &str, root: &str, until: u64) -> (String, Given) {
    let given = Given {
        root: root.to_owned(),
        until,
        at: 0,
    };
    (name.to_owned(), given)
}

/// Of a controller that has been there for long.
fn facts(now: u64, proxies: Vec<Proxy>, issued: &[(String, Given)]) -> Facts {
    Facts {
        now,
        since: 0,
        unheard: Vec::new(),
        proxies,
        published: true,
        webhooks: true,
        issued: issued.iter().cloned().collect(),
        longest: DAY,
        crowded: None,
    }
}

/// What it decides, once what is known has been stored.
fn decided(rotation: &Rotation, facts: &Facts) -> (Rotation, Next) {
    match rotation.next(facts) {
        Next::Note(noted) if noted.phase == rotation.phase => (noted.clone(), noted.next(facts)),
        next => (rotation.clone(), next),
    }
}

fn reasons(rotation: &Rotation, facts: &Facts) -> String {
    match decided(rotation, facts) {
        (_, Next::Wait(reasons)) => reasons.join("; "),
        (_, other) => panic!("expected to wait, not {other:?}"),
    }
}

fn switched(rotation: &Rotation, facts: &Facts) -> Rotation {
    match decided(rotation, facts) {
        (_, Next::Switch(rotation)) => rotation,
        (_, other) => panic!("expected to switch, not {other:?}"),
    }
}

fn begun() -> Rotation {
    Rotation::new(NEW.into(), BEGUN)
}

#[test]
fn the_signer_is_switched_when_everybody_believes_the_new_root() {
    let settled = BEGUN + SETTLE;
    let issued = [given("shop/a", OLD, DAY), given("shop/b", OLD, DAY)];
    let with = |belief| vec![proxy("shop/a", Belief::Acknowledged), proxy("shop/b", belief)];
    let lagging = facts(settled, with(Belief::Lagging), &issued);
    assert_eq!(
        reasons(&begun(), &lagging),
        "shop/b has not acknowledged the new bundle"
    );
    let all = facts(settled, with(Belief::Acknowledged), &issued);
    assert_eq!(switched(&begun(), &all).phase, Phase::Renewing);
    let early = Facts {
        now: settled - 1,
        ..all.clone()
    };
    assert_eq!(reasons(&begun(), &early), "what has changed settles");
    for (lacking, reason) in [
        (
            Facts {
                published: false,
                ..all.clone()
            },
            "not every namespace",
        ),
        (
            Facts {
                webhooks: false,
                ..all.clone()
            },
            "the API server does not have",
        ),
        (
            Facts {
                unheard: vec!["istiod-1".into()],
                ..all.clone()
            },
            "controller istiod-1 has not said",
        ),
    ] {
        assert!(reasons(&begun(), &lacking).starts_with(reason));
    }
}

#[test]
fn who_is_offline_is_waited_for_until_its_pod_is_gone_or_somebody_says_so() {
    let now = BEGUN + SETTLE;
    let offline = facts(now, Vec::new(), &[given("shop/off", OLD, DAY)]);
    let (rotation, next) = decided(&begun(), &offline);
    let reason = "shop/off has not acknowledged the new bundle, and is not connected";
    assert_eq!(next, Next::Wait(vec![reason.to_owned()]));
    assert_eq!(rotation.missing(&offline, ""), ["shop/off"]);
    let gone = rotation.without_pods(&["shop/off".into()], now);
    assert!(
        matches!(gone.next(&offline), Next::Switch(_)),
        "its old certificate counts no more"
    );
    let again = facts(now, Vec::new(), &[given("shop/off", OLD, DAY + 1)]);
    assert_eq!(
        reasons(&gone, &again),
        reason,
        "a pod of that name has come since"
    );
    let told = rotation.without(&["shop/off".into()]);
    assert!(matches!(told.next(&again), Next::Switch(_)));
}

#[test]
fn a_controller_that_has_just_started_decides_nothing_before_everybody_is_back() {
    let before = facts(
        BEGUN,
        vec![proxy("shop/a", Belief::Lagging)],
        &[given("shop/a", OLD, DAY)],
    );
    let (stored, _) = decided(&begun(), &before);
    let text = serde_json::to_string(&stored).unwrap();
    let stored: Rotation = serde_json::from_str(&text).unwrap();
    // Nothing is known any more of who is there, and of what was issued.
    let restarted = |now| Facts {
        since: BEGUN + 60,
        ..facts(now, Vec::new(), &[])
    };
    let early = reasons(&stored, &restarted(BEGUN + 60));
    assert!(early.starts_with("proxies get 30 s more"), "{early}");
    let late = reasons(&stored, &restarted(BEGUN + 60 + RETURN));
    assert_eq!(
        late,
        "shop/a has not acknowledged the new bundle, and is not connected"
    );
    let unknown = Rotation {
        phase: Phase::Closing,
        entered: BEGUN,
        ..begun()
    };
    assert!(reasons(&unknown, &restarted(BEGUN + 60)).starts_with("proxies get"));
}

#[test]
fn proxies_that_follow_a_file_are_given_the_time_of_kubelets_and_mounted_ones_none() {
    let at = |now, belief| facts(now, vec![proxy("shop/a", belief)], &[]);
    assert_eq!(
        reasons(&begun(), &at(BEGUN + 50, Belief::File)),
        "proxies that follow a file get 100 s more"
    );
    let file = switched(&begun(), &at(BEGUN + FILES, Belief::File));
    assert_eq!(file.former.keys().collect::<Vec<_>>(), ["shop/a"]);
    let (young, next) = decided(&begun(), &at(BEGUN + SETTLE, Belief::Unsaid));
    assert!(matches!(next, Next::Wait(_)), "it may be about to ask");
    let mounted = switched(&young, &at(BEGUN + SETTLE, Belief::Mounted));
    assert!(mounted.former.is_empty(), "it has no certificate of ours");
}

#[test]
fn who_comes_back_after_a_while_is_no_reason_to_wait_for_ever() {
    let at = |now, belief| facts(now, vec![proxy("shop/a", belief)], &[given("shop/a", OLD, DAY)]);
    let waiting = Facts {
        published: false,
        ..at(BEGUN + FILES, Belief::File)
    };
    let (noted, _) = decided(&begun(), &waiting);
    assert!(matches!(
        noted.next(&at(BEGUN + FILES, Belief::Unsaid)),
        Next::Switch(_)
    ));
}

#[test]
fn the_old_root_goes_when_none_of_its_certificates_is_in_use() {
    let now = BEGUN + SETTLE;
    let all = ["shop/a", "shop/b"].map(|name| proxy(name, Belief::Acknowledged));
    let before = facts(now, all.to_vec(), &[given("shop/a", OLD, BEGUN + 500)]);
    let rotation = switched(&begun(), &before);
    let expected = [("shop/a", BEGUN + 500), ("shop/b", now + DAY)];
    assert_eq!(
        rotation.former,
        expected.map(|(name, until)| (name.to_owned(), until)).into(),
        "what is not known is assumed"
    );
    let renewed = [given("shop/b", NEW, DAY)];
    let later = facts(now + 10, all.to_vec(), &renewed);
    let (rotation, next) = decided(&rotation, &later);
    assert_eq!(rotation.entered, now + 10);
    let Next::Wait(told) = next else {
        panic!("{next:?}")
    };
    assert_eq!(told[0], "shop/a has a certificate of the old root");
    let at_its_end = facts(BEGUN + 500, all.to_vec(), &renewed);
    let (rotation, next) = decided(&rotation, &at_its_end);
    assert_eq!(next, Next::Wait(vec!["what has changed settles".into()]));
    let settled = facts(BEGUN + 500 + SETTLE, all.to_vec(), &renewed);
    let Next::Note(closing) = rotation.next(&settled) else {
        panic!("nothing is left")
    };
    assert_eq!(closing.phase, Phase::Closing);
    let closed = Facts {
        now: settled.now + SETTLE,
        ..settled
    };
    assert_eq!(closing.next(&closed), Next::Finish);
}

#[test]
fn a_certificate_that_the_old_root_signed_after_the_last_look_is_waited_for() {
    let rotation = Rotation {
        phase: Phase::Renewing,
        switched: BEGUN,
        ..begun()
    };
    let late = facts(BEGUN + FILES, Vec::new(), &[given("shop/late", OLD, DAY)]);
    let (rotation, next) = decided(&rotation, &late);
    let Next::Wait(told) = next else {
        panic!("{next:?}")
    };
    assert_eq!(told[0], "shop/late has a certificate of the old root");
    let renewed = facts(BEGUN + FILES, Vec::new(), &[given("shop/late", NEW, DAY)]);
    assert!(decided(&rotation, &renewed).0.former.is_empty());
}

#[test]
fn the_file_of_a_pod_has_time_before_the_old_root_goes() {
    let rotation = Rotation {
        phase: Phase::Renewing,
        switched: BEGUN,
        ..begun()
    };
    let at = |now| facts(now, Vec::new(), &[]);
    assert_eq!(
        reasons(&rotation, &at(BEGUN + SETTLE)),
        "the files of pods get 135 s more"
    );
    assert!(
        matches!(rotation.next(&at(BEGUN + FILES)), Next::Note(closing) if closing.phase == Phase::Closing)
    );
}

#[test]
fn an_account_with_several_callers_is_waited_for_until_its_last_certificate_is_over() {
    let account = "shop/sa:cart";
    let now = BEGUN + SETTLE;
    let connected = vec![proxy(account, Belief::Acknowledged)];
    let rotation = switched(
        &begun(),
        &facts(now, connected, &[given(account, OLD, now + 900)]),
    );
    let one_renewed = [given(account, NEW, DAY)];
    let later = reasons(&rotation, &facts(now + 300, Vec::new(), &one_renewed));
    assert_eq!(later, "shop/sa:cart has a certificate of the old root");
    let over = facts(now + 900, Vec::new(), &one_renewed);
    assert!(decided(&rotation, &over).0.former.is_empty());
    assert!(rotation.missing(&over, "").is_empty(), "it is no pod");
}

#[test]
fn somebody_in_a_hurry_waits_for_nobody() {
    let rotation = Rotation {
        hurried: true,
        ..begun()
    };
    let lagging = vec![proxy("shop/a", Belief::Lagging)];
    let now = BEGUN + SETTLE;
    let renewing = switched(&rotation, &facts(now, lagging, &[given("shop/off", OLD, DAY)]));
    let settled = facts(now + SETTLE, Vec::new(), &[]);
    let Next::Note(closing) = renewing.next(&settled) else {
        panic!("it waits")
    };
    let end = facts(settled.now + SETTLE, Vec::new(), &[]);
    assert_eq!(closing.next(&end), Next::Finish);
}

#[test]
fn every_missing_pod_is_looked_for_in_turn() {
    let many = 3 * LOOKED_FOR;
    let rotation = Rotation {
        former: (0..many)
            .map(|number| (format!("shop/{number:03}"), DAY))
            .collect(),
        ..begun()
    };
    let (mut seen, mut last) = (BTreeSet::new(), String::new());
    for _ in 0..3 {
        let names = rotation.missing(&facts(BEGUN, Vec::new(), &[]), &last);
        last = names.last().unwrap().clone();
        seen.extend(names);
    }
    assert_eq!(seen.len(), many);
}

#[test]
fn what_is_told_and_what_is_stored_is_bounded() {
    let names = || (0..20_000).map(|number| format!("shop/backend-{number}"));
    let lagging = names().map(|name| proxy(&name, Belief::Lagging));
    let issued: Vec<_> = names().map(|name| given(&name, OLD, BEGUN + 900)).collect();
    let many = facts(BEGUN + FILES, lagging.collect(), &issued);
    let (rotation, next) = decided(&begun(), &many);
    let Next::Wait(reasons) = next else {
        panic!("{next:?}")
    };
    assert_eq!(reasons.len(), TOLD + 1);
    assert!(serde_json::to_string(&rotation).unwrap().len() < 300 << 10);
    assert_eq!((rotation.former.len(), rotation.crowd), (0, Some(BEGUN + 900)));
    let all = names().map(|name| proxy(&name, Belief::Acknowledged));
    let believing = facts(BEGUN + FILES, all.collect(), &issued);
    let renewing = switched(&rotation, &believing);
    let over = facts(BEGUN + 900, Vec::new(), &[]);
    assert_eq!(decided(&renewing, &over).0.crowd, None);
}

#[test]
fn something_new_at_every_look_holds_nothing_up() {
    let look = |number: u64| {
        let pod = given(&format!("shop/pod-{number}"), OLD, DAY);
        let known: Vec<_> = (0..=number)
            .map(|number| proxy(&format!("shop/pod-{number}"), Belief::Acknowledged))
            .collect();
        facts(BEGUN + number, known, &[pod])
    };
    let mut rotation = begun();
    for number in 0..2 * SETTLE {
        match rotation.next(&look(number)) {
            Next::Note(noted) => rotation = noted,
            Next::Switch(renewing) => {
                assert!(renewing.former.contains_key(&format!("shop/pod-{number}")));
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("the new root never signs");
}

#[test]
fn callers_that_cannot_be_told_are_waited_for_once() {
    let crowded = |now| Facts {
        crowded: Some(BEGUN + DAY),
        ..facts(now, Vec::new(), &[])
    };
    let renewing = switched(&begun(), &crowded(BEGUN + FILES));
    assert_eq!(renewing.crowd, Some(BEGUN + DAY));
    let (over, _) = decided(&renewing, &crowded(BEGUN + DAY));
    assert_eq!(over.crowd, None);
}

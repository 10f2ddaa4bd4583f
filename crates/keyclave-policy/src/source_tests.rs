use super::*;

fn check(text: &str) -> Result<Policy, PolicyError> {
    Policy::check(&"p".parse().unwrap(), text)
}

#[test]
fn what_people_write_is_accepted() {
    for text in [
        r#"permit(principal == Service::"billing", action in Action::"use", resource in Prefix::"payments/");"#,
        r#"permit(principal in Group::"ops", action == Action::"rotate", resource);"#,
        r#"permit(principal, action == Action::"describe", resource in Prefix::"/");"#,
        r#"forbid(principal, action in Action::"danger", resource) unless { context.mtls };"#,
        r#"// é in a comment is outside strings and still not read by anyone
           forbid(principal in Role::"application", action, resource in Prefix::"a/b/")
           when { context has source && !context.source.isInRange(ip("10.0.0.0/8")) };"#,
        r#"permit(principal == User::"alice", action, resource == Key::"a/b") when { resource.tags.contains("é") };"#,
    ] {
        check(text).unwrap();
    }
}

#[test]
fn what_can_never_match_or_matches_too_much_is_refused() {
    let entity = |text: String| match check(&text) {
        Err(PolicyError::Entity { problem, .. }) => problem,
        other => unreachable!("{text}: {other:?}"),
    };
    let for_role =
        |role| format!(r#"permit(principal in Role::"{role}", action in Action::"use", resource);"#);
    assert_eq!(entity(for_role("admin")), EntityProblem::Role);
    assert_eq!(entity(for_role("аdministrator")), EntityProblem::Role);
    let under =
        |prefix| format!(r#"permit(principal == User::"a", action, resource in Prefix::"{prefix}");"#);
    assert_eq!(entity(under("app")), EntityProblem::Slash);
    assert_eq!(entity(under("app//")), EntityProblem::Name);
    assert_eq!(entity(under("app/../x/")), EntityProblem::Name);
    let on = |key| format!(r#"permit(principal == User::"a", action, resource == Key::"{key}");"#);
    for wrong in ["App", "a/", "a/../x", "", "e\u{301}", "a\\u{200b}b"] {
        assert_eq!(entity(on(wrong)), EntityProblem::Name, "{wrong}");
    }
    for all in [
        "permit(principal, action, resource);",
        "permit(principal, action, resource) when { true };",
        "permit(principal is User, action, resource in Prefix::\"a/\");",
        "permit(principal, action in Action::\"use\", resource);",
    ] {
        assert!(matches!(check(all), Err(PolicyError::PermitAll)), "{all}");
    }
}

#[test]
fn what_does_not_fit_the_schema_is_refused() {
    let when = |condition: &str| {
        format!(
            r#"permit(principal == User::"a", action in Action::"use", resource) when {{ {condition} }};"#
        )
    };
    for wrong in [
        "context.nothing",
        "resource.owner == principal",
        "context.mtls == 1",
        "context.source.isInRange(ip(\"10.0.0.0/8\"))",
        "context.time > 5",
        "false",
        "resource.state like \"*\" && principal.name == \"a\"",
    ] {
        assert!(
            matches!(check(&when(wrong)), Err(PolicyError::Schema(_))),
            "{wrong}: {:?}",
            check(&when(wrong))
        );
    }
    let unknown = r#"permit(principal == User::"a", action == Action::"fly", resource);"#;
    assert!(matches!(check(unknown), Err(PolicyError::Schema(_))));
}

#[test]
fn more_or_less_than_one_policy_is_refused() {
    let one = r#"permit(principal == User::"a", action, resource);"#;
    for wrong in [
        "",
        "permit",
        &format!("{one}{one}"),
        "permit(principal == ?principal, action, resource);",
        "\"",
        "/",
        "//",
    ] {
        assert!(matches!(check(wrong), Err(PolicyError::Syntax(_))), "{wrong:?}");
    }
}

#[test]
fn limits_hold_before_the_parser_runs() {
    let when = |condition: &str| format!(r#"forbid(principal, action, resource) when {{ {condition} }};"#);
    let nested =
        |open: &str, close: &str, depth| when(&format!("{}true{}", open.repeat(depth), close.repeat(depth)));
    for (open, close) in [("(", ")"), ("[", "]"), ("{a:", "}")] {
        for depth in [POLICY_NESTING_MAX, 200, 4000] {
            let text = nested(open, close, depth);
            assert!(matches!(check(&text), Err(PolicyError::Nesting { line: 1, .. })), "{open} {depth}");
        }
    }
    for chain in ["!", "-", "true && ", "true || ", "if true then true else ", "1 + ", "context.", "true == "]
    {
        let text = when(&format!("{}true", chain.repeat(POLICY_OPERATORS_MAX + 1)));
        assert!(matches!(check(&text), Err(PolicyError::Operators { .. })), "{chain}");
    }
    let conditions = " unless { false }".repeat(POLICY_OPERATORS_MAX + 1);
    let text = format!("forbid(principal, action, resource){conditions};");
    assert!(matches!(check(&text), Err(PolicyError::Operators { .. })));
    assert!(matches!(check(&" ".repeat(POLICY_BYTES_MAX + 1)), Err(PolicyError::Bytes { .. })));
    let twin = "forbid(principal, action, resource)\nwhen { context.mtlѕ };";
    assert!(matches!(check(twin), Err(PolicyError::Character { line: 2 })));
}

#[test]
fn at_its_strictest_a_policy_forbids_what_its_head_names() {
    let strictest = |text: &str| Policy::read(&"p".parse().unwrap(), text).unwrap().at_its_strictest();
    let unconditional = r#"permit(principal == User::"a", action, resource);"#;
    assert!(!strictest(unconditional).forbids());
    for effect in ["permit", "forbid"] {
        let text = format!(
            r#"{effect}(principal in Group::"g", action == Action::"tokens", resource) when {{ context.mtls }};"#
        );
        let policy = strictest(&text);
        assert!(policy.forbids() && !policy.cedar().has_non_scope_constraint());
        assert_eq!(policy.principal().unwrap().to_string(), r#"Group::"g""#);
        assert_eq!(policy.uses(), Uses::default());
    }
}

#[test]
fn what_a_policy_looks_at_is_known() {
    let uses = |condition: &str| {
        let text = format!("forbid(principal, action, resource) when {{ {condition} }};");
        let uses = Policy::read(&"p".parse().unwrap(), &text).unwrap().uses();
        (uses.time, uses.circumstances)
    };
    assert_eq!(uses("principal in Group::\"a\""), (false, false));
    assert_eq!(uses("context.mtls"), (false, true));
    assert_eq!(uses("context has time && context.time > 5"), (true, false));
    assert_eq!(uses("[context.batch, 2].contains(1) || context has time"), (true, true));
    assert_eq!(uses("context == context"), (true, true));
}

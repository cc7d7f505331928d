use crate::POLICIES;

/// Changing the order changes what runs first in every gateway; it must be meant.
#[test]
fn the_order_of_policies_is_as_written_here() {
    let names: Vec<_> = POLICIES.iter().map(|policy| policy.settings.name).collect();
    assert_eq!(
        names,
        [
            "security_headers",
            "disabled",
            "ip_rules",
            "limits",
            "cors",
            "request_limits",
            "authenticate",
            "login",
            "caller_limits",
            "access",
            "login_account",
            "header_rules",
            "credentials"
        ]
    );
}

#[test]
fn the_table_is_sorted_by_phase() {
    assert!(POLICIES.is_sorted_by_key(|policy| policy.phase));
}

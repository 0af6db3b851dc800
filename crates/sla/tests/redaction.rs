//! Redaction belongs to the process, so this test has one for itself.

mod common;

use common::{emit_all, logged};
use sla::Redaction;
use sla::subscriber::{Config, Format, Level};

#[test]
fn hidden_destination_is_in_no_line_and_refusals_show_its_domain() {
    for (redaction, shown, hidden) in [
        (Redaction::Full, "\"www.example.org:443\"", "~"),
        (Redaction::Domain, "\"example.org:443\"", "www."),
        (Redaction::Hash, "\"target_address\":\"~", "www."),
        (Redaction::None, "\"target_address\":\"-\"", "www."),
    ] {
        for format in [Format::Text, Format::Json] {
            let mut config = Config::default();
            (config.level, config.format, config.redaction) = (Level::Debug, format, redaction);
            let text = logged(config, || emit_all(&str::to_owned));
            assert!(!text.contains(hidden), "{redaction:?}: {hidden} in {text}");
            if format == Format::Json {
                assert!(text.contains(shown), "{redaction:?}: {shown} not in {text}");
                let hides = redaction != Redaction::Full;
                assert_eq!(!text.contains("203.0.113.77"), hides, "{redaction:?}: the destination's address");
                assert!(
                    text.contains("\"peer\":\"127.0.0.1:50000\""),
                    "{redaction:?}: the application's address"
                );
                let rule = text.lines().find(|line| line.contains("\"acl_denied\"")).expect("a line");
                assert_eq!(!rule.contains("10.2.3.4"), hides, "{redaction:?}: {rule}");
                let failed = text.lines().find(|line| line.contains("\"target_failed\"")).expect("a line");
                assert!(failed.contains("example.org:443\""), "{redaction:?}: {failed}");
            }
        }
    }
}

//! Puts the rules together.

use super::SiteFacts;
use super::growth::Growth;
use crate::session::snapshot::{Verdict, VerdictKind};

/// The verdict on a site.
pub fn judge(_f: &SiteFacts, growth: &Growth) -> Verdict {
    let kind = if growth.sustained.is_some() { VerdictKind::Suspect } else { VerdictKind::Healthy };
    Verdict { kind, why: "growth alone".to_owned(), missing: Vec::new(), evidence: Vec::new() }
}

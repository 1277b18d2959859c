//! What the user side tells the eBPF programs before they are loaded.

/// An offset that the target's runtime does not have, or that is not known.
pub const ABSENT: u32 = u32::MAX;

/// Offsets into the target's runtime structs, in bytes. Written into the programs' read-only data at load, so the
/// verifier sees constants.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoLayout {
    pub g_stack_lo: u32,
    pub g_stack_hi: u32,
    pub g_m: u32,
    pub g_sched_bp: u32,
    pub g_goid: u32,
    /// [`ABSENT`] in Go 1.19.
    pub g_parent_goid: u32,
    pub g_gopc: u32,
    pub g_startpc: u32,
    pub g_waitreason: u32,
    /// [`ABSENT`] before Go 1.22.
    pub g_coroexit: u32,
    /// [`ABSENT`] before Go 1.22.
    pub g_coroarg: u32,
    pub m_curg: u32,
    /// [`ABSENT`] when the exact patch release's layout of `m` is not known.
    pub m_waitunlockf: u32,
    /// [`ABSENT`] when the exact patch release's layout of `m` is not known.
    pub m_waitlock: u32,
}

impl GoLayout {
    /// Nothing is known. What the object holds before the loader fills it in.
    pub const UNKNOWN: Self = Self {
        g_stack_lo: ABSENT,
        g_stack_hi: ABSENT,
        g_m: ABSENT,
        g_sched_bp: ABSENT,
        g_goid: ABSENT,
        g_parent_goid: ABSENT,
        g_gopc: ABSENT,
        g_startpc: ABSENT,
        g_waitreason: ABSENT,
        g_coroexit: ABSENT,
        g_coroarg: ABSENT,
        m_curg: ABSENT,
        m_waitunlockf: ABSENT,
        m_waitlock: ABSENT,
    };
}

const _: () = assert!(core::mem::size_of::<GoLayout>() == 14 * 4);

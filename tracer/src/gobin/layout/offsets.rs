//! What is known about one version's runtime: the numbers of one row of the table.

use serde::{Deserialize, Serialize};
use tracer_common::config::{ABSENT, GoLayout};

use super::structs::{Struct, Unfit};
use super::{HchanLayout, Layout, SudogLayout, TimerLayout};

/// Byte offsets and constants; absent where the version has no such field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offsets {
    pub g: G,
    pub m: M,
    pub sudog: SudogLayout,
    pub hchan: HchanLayout,
    /// Absent where it was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<TimerLayout>,
    pub moduledata: ModuleOffsets,
    /// `FuncID_wrapper` (internal/abi/symtab.go; before 1.21 runtime/symtab.go).
    pub wrapper_id: u8,
    /// `_Gdeadextra` (runtime/runtime2.go).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_dead_extra: Option<u32>,
    /// Semaphore waits set `g.waiting`. Came with the leak profile, which made words of `sudog` traceable: seen by
    /// `sudog.elem` being a pair.
    pub semaphores_in_waiting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct G {
    pub size: u32,
    pub stack_lo: u32,
    pub stack_hi: u32,
    pub m: u32,
    pub sched_sp: u32,
    pub sched_pc: u32,
    pub sched_bp: u32,
    pub syscallsp: u32,
    pub syscallpc: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscallbp: Option<u32>,
    pub status: u32,
    pub goid: u32,
    pub waitsince: u32,
    pub waitreason: u32,
    pub parking_on_chan: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coroexit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coroarg: Option<u32>,
    pub lockedm: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_goid: Option<u32>,
    pub gopc: u32,
    pub startpc: u32,
    pub waiting: u32,
    pub labels: u32,
    /// Of `time.Sleep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep_when: Option<u32>,
    /// `bubble`, in Go 1.24 `syncGroup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bubble: Option<u32>,
    /// One byte: how often it has left a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking_seq: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct M {
    pub g0: u32,
    pub procid: u32,
    pub curg: u32,
    /// Absent where measured neighbours differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waitunlockf: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waitlock: Option<u32>,
}

/// In `runtime.moduledata`; its first 192 bytes are the same in all versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleOffsets {
    /// What FUNCDATA offsets count from.
    pub gofunc: u32,
    /// Where type descriptors begin and end.
    pub types: u32,
    pub etypes: u32,
}

/// The structs of [`Offsets`] that are read from a live process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goroutines {
    pub g: G,
    pub m: M,
    pub sudog: SudogLayout,
    pub hchan: HchanLayout,
    /// Absent where it is not described.
    pub timer: Option<TimerLayout>,
    pub semaphores_in_waiting: bool,
}

impl Goroutines {
    pub fn of(
        g: &Struct,
        m: &Struct,
        sudog: &Struct,
        hchan: &Struct,
        timer: Option<&Struct>,
    ) -> Result<Self, Unfit> {
        let (elem, pair) = sudog.word("elem")?;
        Ok(Self {
            g: G::of(g)?,
            m: M {
                g0: m.at("g0", 8)?,
                procid: m.at("procid", 8)?,
                curg: m.at("curg", 8)?,
                waitunlockf: Some(m.at("waitunlockf", 8)?),
                waitlock: Some(m.at("waitlock", 8)?),
            },
            sudog: SudogLayout {
                size: sudog.size()?,
                g: sudog.at("g", 8)?,
                next: sudog.at("next", 8)?,
                prev: sudog.at("prev", 8)?,
                elem,
                ticket: sudog.at("ticket", 4)?,
                is_select: sudog.at("isSelect", 1)?,
                success: sudog.at("success", 1)?,
                parent: sudog.at("parent", 8)?,
                waitlink: sudog.at("waitlink", 8)?,
                waittail: sudog.at("waittail", 8)?,
                c: sudog.word("c")?.0,
            },
            hchan: HchanLayout {
                size: hchan.size()?,
                qcount: hchan.at("qcount", 8)?,
                dataqsiz: hchan.at("dataqsiz", 8)?,
                buf: hchan.at("buf", 8)?,
                elemsize: hchan.at("elemsize", 2)?,
                closed: hchan.at("closed", 4)?,
                timer: hchan.optional("timer", 8)?,
                elemtype: hchan.at("elemtype", 8)?,
                recvq_first: hchan.at("recvq.first", 8)?,
                recvq_last: hchan.at("recvq.last", 8)?,
                sendq_first: hchan.at("sendq.first", 8)?,
                sendq_last: hchan.at("sendq.last", 8)?,
            },
            timer: timer.map(TimerLayout::of).transpose()?,
            semaphores_in_waiting: pair,
        })
    }
}

impl TimerLayout {
    fn of(timer: &Struct) -> Result<Self, Unfit> {
        Ok(Self { when: timer.at("when", 8)?, nextwhen: timer.optional("nextwhen", 8)? })
    }
}

impl G {
    fn of(g: &Struct) -> Result<Self, Unfit> {
        Ok(Self {
            size: g.size()?,
            stack_lo: g.at("stack.lo", 8)?,
            stack_hi: g.at("stack.hi", 8)?,
            m: g.at("m", 8)?,
            sched_sp: g.at("sched.sp", 8)?,
            sched_pc: g.at("sched.pc", 8)?,
            sched_bp: g.at("sched.bp", 8)?,
            syscallsp: g.at("syscallsp", 8)?,
            syscallpc: g.at("syscallpc", 8)?,
            syscallbp: g.optional("syscallbp", 8)?,
            status: g.at("atomicstatus", 4)?,
            goid: g.at("goid", 8)?,
            waitsince: g.at("waitsince", 8)?,
            waitreason: g.at("waitreason", 1)?,
            parking_on_chan: g.at("parkingOnChan", 1)?,
            coroexit: g.optional("coroexit", 1)?,
            coroarg: g.optional("coroarg", 8)?,
            lockedm: g.at("lockedm", 8)?,
            parent_goid: g.optional("parentGoid", 8)?,
            gopc: g.at("gopc", 8)?,
            startpc: g.at("startpc", 8)?,
            waiting: g.at("waiting", 8)?,
            labels: g.at("labels", 8)?,
            timer: g.optional("timer", 8)?,
            tracking_seq: g.optional("trackingSeq", 1)?,
            sleep_when: g.optional("sleepWhen", 8)?,
            bubble: g.optional("bubble", 8)?.or(g.optional("syncGroup", 8)?),
        })
    }
}

impl Offsets {
    pub(super) fn layout(&self, provenance: String) -> Layout {
        let (g, m) = (&self.g, &self.m);
        Layout {
            kernel: GoLayout {
                g_stack_lo: g.stack_lo,
                g_stack_hi: g.stack_hi,
                g_m: g.m,
                g_sched_bp: g.sched_bp,
                g_goid: g.goid,
                g_parent_goid: g.parent_goid.unwrap_or(ABSENT),
                g_gopc: g.gopc,
                g_startpc: g.startpc,
                g_waitreason: g.waitreason,
                g_coroexit: g.coroexit.unwrap_or(ABSENT),
                g_coroarg: g.coroarg.unwrap_or(ABSENT),
                m_curg: m.curg,
                m_waitunlockf: m.waitunlockf.unwrap_or(ABSENT),
                m_waitlock: m.waitlock.unwrap_or(ABSENT),
            },
            g_size: g.size,
            g_status: g.status,
            g_sched_sp: g.sched_sp,
            g_sched_pc: g.sched_pc,
            g_waitsince: g.waitsince,
            g_syscallsp: g.syscallsp,
            g_syscallpc: g.syscallpc,
            g_syscallbp: g.syscallbp,
            g_waiting: g.waiting,
            g_labels: g.labels,
            g_lockedm: g.lockedm,
            g_parking_on_chan: g.parking_on_chan,
            g_timer: g.timer,
            g_tracking_seq: g.tracking_seq,
            g_sleep_when: g.sleep_when,
            g_bubble: g.bubble,
            semaphores_in_waiting: self.semaphores_in_waiting,
            status_dead_extra: self.status_dead_extra,
            m_procid: m.procid,
            m_g0: m.g0,
            sudog: self.sudog,
            hchan: self.hchan,
            timer: self.timer,
            provenance,
        }
    }

    /// With what the program's own type descriptors say of `m`; nothing when they say anything else otherwise.
    pub(super) fn agreeing(&self, own: &Goroutines) -> Option<Self> {
        let m = M { waitunlockf: None, waitlock: None, ..own.m };
        let here = (&self.g, &self.without_lock().m, &self.sudog, &self.hchan, self.semaphores_in_waiting);
        let agrees = here == (&own.g, &m, &own.sudog, &own.hchan, own.semaphores_in_waiting);
        // What was measured of the lock has to agree as well, and timers where the program has any.
        let lock = self.m.waitlock.is_none() || self.m == own.m;
        let timer = own.timer.is_none() || self.timer == own.timer;
        (agrees && lock && timer).then(|| Self { m: own.m, ..self.clone() })
    }

    /// The same without the two fields that have moved between patch releases (in 1.24).
    pub(super) fn without_lock(&self) -> Self {
        Self { m: M { waitunlockf: None, waitlock: None, ..self.m }, ..self.clone() }
    }
}

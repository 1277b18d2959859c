//! Which probes a session needs and where each of them goes.

use super::code::Code;
use super::site::{Place, Refusal, Role, Site, entry_place, epilogue_place, finish, mcall_place};
use crate::gobin::GoBinary;

/// Sites to place and sites that are refused, with the reason.
#[derive(Debug, Default)]
pub struct Plan {
    pub sites: Vec<Site>,
    pub refused: Vec<(Role, Refusal)>,
    /// What the chosen sites will miss, one sentence each.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Without these there is nothing to trace: every birth and every death.
    pub fn is_usable(&self) -> bool {
        [Role::Create, Role::Exit].iter().all(|role| self.sites.iter().any(|s| s.role == *role))
    }

    pub fn refusal_of(&self, role: Role) -> Option<&Refusal> {
        self.refused.iter().find(|(r, _)| *r == role).map(|(_, refusal)| refusal)
    }
}

/// Chooses the sites. With `park`, also where goroutines park, become ready and run.
pub fn plan(binary: &GoBinary<'_>, park: bool) -> Plan {
    let mut plan = Plan::default();
    // Go 1.19 has no frame pointer push behind the stack check; its cheap instruction is the call of mcall, one
    // function earlier on the goroutine's own stack.
    let by_mcall = binary.version().minor < 21;
    let exit = if by_mcall { ("runtime.goexit1", "exit_g") } else { ("runtime.goexit0", "exit_ax") };
    plan.add(binary, Role::Exit, exit.0, exit.1, by_mcall);
    // iter.Pull coroutines end and switch here (Go 1.22 and later).
    if binary.functions().by_name("runtime.coroswitch_m").is_some() {
        plan.add(binary, Role::Coro, "runtime.coroswitch_m", "coro_ax", false);
    }
    plan.add(binary, Role::Create, "runtime.newproc1", "create", false);
    if park {
        let at = if by_mcall { ("runtime.gopark", "park_g") } else { ("runtime.park_m", "park_ax") };
        plan.add(binary, Role::Park, at.0, at.1, by_mcall);
        plan.add(binary, Role::Ready, "runtime.ready", "ready_ax", false);
        plan.add(binary, Role::Run, "runtime.execute", "run_ax", false);
    }
    plan.heed_copies(binary);
    plan
}

impl Plan {
    fn add(
        &mut self,
        binary: &GoBinary<'_>,
        role: Role,
        function: &str,
        program: &'static str,
        by_mcall: bool,
    ) {
        match choose(binary, role, function, program, by_mcall) {
            Ok(site) => self.sites.push(site),
            Err(refusal) => self.refused.push((role, refusal)),
        }
    }

    /// Copies that the compiler inlined (profile-guided builds do) run without passing the probe. Where births or deaths
    /// would be missed that way nothing may be said of growth: the role is refused. What else is missed is a warning.
    fn heed_copies(&mut self, binary: &GoBinary<'_>) {
        let gone = self.refused.iter().filter_map(|(_, refusal)| match refusal {
            Refusal::NoFunction { function } => Some(function.clone()),
            _ => None,
        });
        let functions: Vec<String> = self.sites.iter().map(|s| s.function.clone()).chain(gone).collect();
        let names: Vec<&str> = functions.iter().map(String::as_str).collect();
        match binary.inlined_copies_of(&names) {
            Ok(copies) => {
                for (function, copies) in functions.into_iter().zip(copies).filter(|(_, copies)| !copies.is_empty()) {
                    self.heed(function, copies.len());
                }
            }
            Err(reason) => self.warnings.push(format!(
                "whether the probed functions are inlined elsewhere, where they would be missed, is not known: {reason}"
            )),
        }
    }

    fn heed(&mut self, function: String, copies: usize) {
        let is_gone =
            |refusal: &Refusal| matches!(refusal, Refusal::NoFunction { function: f } if *f == function);
        if let Some((_, refusal)) = self.refused.iter_mut().find(|(_, refusal)| is_gone(refusal)) {
            *refusal = Refusal::Inlined { function, copies };
            return;
        }
        let needed = |role: Role| matches!(role, Role::Create | Role::Exit | Role::Coro);
        match self.sites.iter().position(|s| s.function == function && needed(s.role)) {
            Some(at) => {
                let role = self.sites.remove(at).role;
                self.refused.push((role, Refusal::Inlined { function, copies }));
            }
            None => self.warnings.push(format!(
                "`{function}` is inlined into {copies} other functions of this build: what happens there is missed"
            )),
        }
    }
}

fn choose(
    binary: &GoBinary<'_>,
    role: Role,
    function: &str,
    program: &'static str,
    by_mcall: bool,
) -> Result<Site, Refusal> {
    let no_function = |name: &str| Refusal::NoFunction { function: name.to_owned() };
    let no_bytes = || Refusal::NoBytes { function: function.to_owned() };
    let func = binary.functions().by_name(function).ok_or_else(|| no_function(function))?;
    let bytes = binary.bytes(func.entry, (func.end - func.entry) as usize).ok_or_else(no_bytes)?;
    let code = Code::decode(func.entry, bytes);
    let Place { instruction, fallback_because } = if role == Role::Create {
        epilogue_place(function, &code)?
    } else if by_mcall {
        let mcall =
            binary.functions().by_name("runtime.mcall").ok_or_else(|| no_function("runtime.mcall"))?;
        mcall_place(function, &code, mcall.entry)?
    } else {
        entry_place(function, &code)?
    };
    let addr = instruction.ip();
    // A table out of order gives the same code to several functions: then none of them has bounds to rely on.
    if binary.functions().by_pc(addr).map(|f| (f.entry, f.end)) != Some((func.entry, func.end)) {
        return Err(Refusal::NoPlace {
            function: function.to_owned(),
            because: "the function table (pclntab) is out of order there",
        });
    }
    let file_offset = binary.file_offset(addr).ok_or_else(no_bytes)?;
    finish(role, program, function, &code, func.end, addr, file_offset, fallback_because)
}

//! The fuzz targets on stable, without libFuzzer: every seed, every past finding, and mutations of them for a few seconds.

#[path = "../../fuzz/src/ask.rs"]
mod ask;
#[path = "../../fuzz/src/core_file.rs"]
mod core_file;
#[path = "../../fuzz/src/image.rs"]
mod image;
#[path = "../../fuzz/src/program.rs"]
mod program;
#[path = "../../fuzz/src/recipe.rs"]
mod recipe;
#[path = "../../fuzz/src/targets.rs"]
mod targets;
#[path = "../../fuzz/src/types.rs"]
mod types;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ask::Reached;
use image::{Section, put64};
use program::{VERSIONS, name_offset};
use targets::{ALL, CODE, PIE, RELOCATED, SECTIONS};

fn dir(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
}

/// (file name, bytes)
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir(target)).unwrap_or_else(|e| panic!("no seeds for `{target}`: {e}"));
    let mut all: Vec<_> = entries
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn every_seed_and_finding_ends_well() {
    for (target, run) in ALL {
        let (mut reached, all) = (Reached::default(), seeds(target));
        for (name, bytes) in &all {
            println!("{target}/{name}");
            reached += run(bytes);
        }
        println!("{target}: {} inputs, {reached:?}", all.len());
        // The rooms that each target is for.
        let r = reached;
        let deep = match target {
            "elf" | "moduledata" => r.parsed >= 5 && r.globals > 0 && r.inlined > 0 && r.sites > 0,
            "buildinfo" => r.parsed >= 3,
            "pclntab" => r.functions > 50 && r.frames > 500 && r.copies > 0 && r.inlined > 0,
            "inline_trees" => r.inlined > 50 && r.copies > 0,
            "code" => r.sites >= 40 && r.globals >= 10,
            "dwarf" => r.debug >= 20 && r.symbols >= 4,
            "layouts" => r.layouts >= 2,
            "core" => r.parsed >= 2 && r.layouts >= 2 && r.functions >= 6 && r.frames > 0,
            _ => false,
        };
        assert!(deep, "the seeds of `{target}` do not reach what it is for: {reached:?}");
    }
}

fn noise(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Changes a few bytes; what it does depends on `n` alone. Gives the new length.
fn change(bytes: &mut [u8], used: usize, most: usize, n: u64) -> usize {
    let mut used = used;
    for k in 0..1 + noise(n) % 4 {
        let r = noise(n.wrapping_mul(31).wrapping_add(k));
        let at = (r >> 8) as usize % used.max(1);
        let len = ((r >> 40) as usize % 16).min(used.saturating_sub(at));
        if used == 0 {
            return 0;
        }
        match r % 6 {
            0 => bytes[at] ^= 1 << (r >> 4 & 7),
            1 => bytes[at] = (r >> 32) as u8,
            2 => bytes[at..at + len].fill([0, 1, 0x7f, 0x80, 0xff][(r >> 32) as usize % 5]),
            3 => used = at,
            4 => {
                bytes.copy_within(at + len..used, at);
                used -= len;
            }
            _ => {
                let len = len.min(most - used);
                bytes.copy_within(at..used, at + len);
                used += len;
            }
        }
    }
    used
}

#[test]
fn mutated_seeds_end_well() {
    let mut n = 0u64;
    for (target, run) in ALL {
        let seeds = seeds(target);
        let until = Instant::now() + Duration::from_millis(700);
        while Instant::now() < until {
            n += 1;
            let mut data = seeds[n as usize % seeds.len()].1.clone();
            let (size, most) = (data.len(), data.len() + 64);
            data.resize(most, 0);
            let size = match target {
                "elf" | "core" => change(&mut data, size, most, n),
                _ => recipe::mutate(&mut data, size, most, noise(n) as u32, |d, used, most| {
                    change(d, used, most, n)
                }),
            };
            run(&data[..size]);
        }
    }
    println!("{n} mutations");
}

#[test]
fn a_recipe_is_what_its_parts_say() {
    let parts = vec![vec![1, 2], vec![], vec![3; 300]];
    assert_eq!(recipe::parts(&recipe::join(&parts)), parts);
    assert_eq!(recipe::parts(&[5, 0, 7]), [vec![7]], "a part that is cut off");
    assert!(recipe::parts(&[5]).is_empty());
}

fn symbols(image: &image::Image, allgs: u64) -> [Section; 2] {
    let mut table = vec![0u8; 24 * 3];
    table[24] = 1;
    put64(&mut table, 24 + 8, image.base() + image::DATA + allgs);
    let strings = b"\0runtime.allgs\0other\0".to_vec();
    // The symbol table is section 3, its strings section 4.
    let section = |name: &str, kind, bytes, link| Section {
        name: name.into(),
        kind,
        bytes,
        link,
        ..Section::default()
    };
    [section(".symtab", 2, table, 4), section(".strtab", 3, strings, 0)]
}

/// Makes the sound seeds anew. Findings, and the debug sections (a C compiler's), stay as they are.
#[test]
#[ignore = "writes the fuzzer's seeds: after a change of the recipes"]
fn write_fuzz_seeds() {
    if std::env::var_os("GOSTRAY_WRITE_SEEDS").is_none() {
        return;
    }
    let put = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(dir(target)).unwrap();
        std::fs::write(dir(target).join(name), bytes).unwrap();
    };
    let functions = program::functions();
    for (v, version) in VERSIONS.iter().enumerate() {
        let image = program::image(version, &functions);
        for (form, flags) in [("plain", 0), ("pie", PIE), ("relocated", RELOCATED), ("sections", SECTIONS)] {
            let name = format!("{version}-{form}");
            let mut whole = program::image(version, &functions);
            whole.pie = flags & (PIE | RELOCATED) != 0;
            whole.in_place = flags != RELOCATED;
            whole.sections = flags == SECTIONS;
            whole.others.extend(symbols(&whole, image::ALLGS));
            put("elf", &name, &whole.build());
            let shape = vec![v as u8, flags];
            let module = targets::module_of(&whole);
            put("moduledata", &name, &recipe::join(&[shape.clone(), module, vec![0; 24]]));
            if v % 2 == 0 && flags == 0 {
                put("buildinfo", &name, &recipe::join(&[shape, image.info.clone()]));
            }
        }
        let shape = vec![v as u8, 0];
        let i = &image;
        let parts = [&i.names, &i.cus, &i.files, &i.pcs, &i.funcs, &i.trees].map(Clone::clone);
        put("pclntab", version, &recipe::join(&[&[shape.clone()][..], &parts].concat()));
        let tables =
            [vec![0, 8, 2, 4, 2, 4, 3, 8], vec![22, 4, 2, 4, 18, 4, 20, 4, 35, 8], vec![2, 8, 2, 8, 1, 8]];
        let tree = i.trees[16..].to_vec();
        put("inline_trees", version, &recipe::join(&[&[shape.clone()][..], &tables, &[tree]].concat()));
        let code = CODE.map(|at| functions[at].code.clone());
        put("code", version, &recipe::join(&[&[shape][..], &code].concat()));
    }
    let described =
        [types::abbreviations(), types::debug_info(), Vec::new(), types::descriptors(targets::TYPES)];
    put("layouts", "both", &recipe::join(&described));
    let (mut debug, mut descriptors) = (described.clone(), described);
    debug[3].clear();
    descriptors[..3].fill(Vec::new());
    put("layouts", "debug-information", &recipe::join(&debug));
    put("layouts", "type-descriptors", &recipe::join(&descriptors));
    let core = targets::sound_core();
    let whole = core.build();
    put("core", "whole", &whole);
    put("core", "cut-off", &whole[..whole.len() - 0x1800]);
    assert_eq!(name_offset("main.main"), 0);
}

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::super::fixture::{fixture, healthy};
use super::*;

fn screen(width: u16, height: u16, snapshot: &Snapshot, view: &ViewState) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, snapshot, view)).unwrap();
    terminal
}

fn press(view: &mut ViewState, snapshot: &Snapshot, code: KeyCode) -> Option<Action> {
    view.update(snapshot);
    view.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn table() {
    insta::assert_snapshot!(screen(110, 12, &fixture(), &ViewState::new(false)).backend());
}

#[test]
fn stack_of_the_selected_site() {
    let mut view = ViewState::new(true);
    let s = fixture();
    press(&mut view, &s, KeyCode::Enter);
    insta::assert_snapshot!(screen(100, 24, &s, &view).backend());
    press(&mut view, &s, KeyCode::Down);
    press(&mut view, &s, KeyCode::Down);
    insta::assert_snapshot!("unknown_site", screen(100, 24, &s, &view).backend());
}

#[test]
fn no_site_yet() {
    let mut s = healthy();
    s.sites.clear();
    insta::assert_snapshot!(screen(60, 6, &s, &ViewState::new(false)).backend());
}

#[test]
fn colours_only_when_asked() {
    let verdict = |color| {
        let terminal = screen(110, 12, &fixture(), &ViewState::new(color));
        let cell = terminal.backend().buffer()[(0, 3)].clone();
        assert_eq!(cell.symbol(), "l");
        cell
    };
    assert_eq!(verdict(true).fg, Color::Red);
    assert_eq!(verdict(false).fg, Color::Reset);
    assert!(verdict(false).modifier.contains(Modifier::BOLD));
}

#[test]
fn no_size_and_no_name_breaks_it() {
    let mut s = fixture();
    for site in &mut s.sites {
        site.created_at.function.push_str("\u{1b}[2J\u{202e}界\n");
        site.verdict.why.push_str("\u{1b}[2J");
    }
    for open in [false, true] {
        let mut view = ViewState::new(true);
        (view.open, view.system) = (open, true);
        for (width, height) in [(1, 1), (2, 3), (10, 2), (300, 80), (80, 5)] {
            let terminal = screen(width, height, &s, &view);
            let cells = terminal.backend().buffer().content();
            assert!(cells.iter().all(|c| !c.symbol().contains(char::is_control)));
        }
    }
}

#[test]
fn the_selection_follows_its_site_when_the_order_changes() {
    let mut view = ViewState::default();
    let s = fixture();
    let selected = |view: &ViewState| {
        let rows = view.rows(&s);
        rows[view.selected(&rows)].id.clone()
    };
    assert_eq!(selected(&view), s.sites[0].id);
    press(&mut view, &s, KeyCode::Down);
    assert_eq!(selected(&view), s.sites[1].id);
    for sort in [Sort::Live, Sort::Slope, Sort::Oldest, Sort::Born, Sort::Worst] {
        press(&mut view, &s, KeyCode::Char('s'));
        assert_eq!(view.sort, sort);
        assert_eq!(selected(&view), s.sites[1].id);
    }
    for (key, at) in [(KeyCode::End, 4), (KeyCode::Down, 4), (KeyCode::PageUp, 0), (KeyCode::Up, 0)] {
        press(&mut view, &s, key);
        assert_eq!(selected(&view), s.sites[at].id, "{key:?}");
    }
    press(&mut view, &s, KeyCode::Char('a'));
    assert_eq!(view.rows(&s).len(), 6);
}

#[test]
fn sorts_put_the_largest_first() {
    let s = fixture();
    let first = |sort| {
        let mut view = ViewState::default();
        view.sort = sort;
        view.rows(&s)[0].id.clone()
    };
    assert_eq!(first(Sort::Worst), s.sites[0].id);
    assert_eq!(first(Sort::Live), s.sites[0].id);
    assert_eq!(first(Sort::Slope), s.sites[0].id);
    assert_eq!(first(Sort::Oldest), s.sites[1].id);
    assert_eq!(first(Sort::Born), s.sites[4].id);
}

#[test]
fn keys_that_end_it() {
    let mut view = ViewState::default();
    assert_eq!(press(&mut view, &fixture(), KeyCode::Char('q')), Some(Action::Quit));
    assert_eq!(view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Action::Quit));
    assert_eq!(view.key(KeyEvent::new(KeyCode::Char('s'), KeyModifiers::CONTROL)), None);
    assert_eq!(press(&mut view, &fixture(), KeyCode::Char('x')), None);
}

/// Not a test of its own: what the next tests run in a process on a pseudo-terminal.
#[test]
#[ignore = "runs in a child process on a pseudo-terminal"]
fn child() {
    let Ok(how) = std::env::var("GOSTRAY_TUI_CHILD") else { return };
    let mut tui = Tui::start(true).unwrap();
    let bytes = tui.draw(&fixture()).unwrap();
    std::io::stdout().write_all(&bytes).unwrap();
    assert!(how != "panic", "the table is on the screen");
    if how == "leave" {
        let bytes = tui.leave();
        assert_eq!(ratatui::crossterm::terminal::is_raw_mode_enabled().ok(), Some(false));
        std::io::stdout().write_all(&bytes).unwrap();
    } else {
        drop(tui);
    }
}

/// Everything that the child wrote. Its terminal's settings must be as before.
fn on_a_terminal(how: &str) -> String {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let before = tcgetattr(&pty.slave).unwrap();
    let stdio = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "output::tui::tests::child"])
        .env("GOSTRAY_TUI_CHILD", how)
        .env("TERM", "xterm")
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .unwrap();
    let mut master = File::from(pty.master);
    // Read on another thread: the child must not block on a full terminal, and the end of a terminal is an error.
    let reader = std::thread::spawn(move || {
        let (mut all, mut part) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = master.read(&mut part) {
            all.extend_from_slice(&part[..n]);
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let status = child.wait().unwrap();
    assert_eq!(status.success(), how != "panic");
    let after = tcgetattr(&pty.slave).unwrap();
    assert_eq!(after, before);
    assert!(after.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
    drop(pty.slave);
    reader.join().unwrap()
}

#[test]
fn the_terminal_is_given_back() {
    for how in ["drop", "leave"] {
        let written = on_a_terminal(how);
        let enter = written.find("\u{1b}[?1049h").expect("the alternate screen was entered");
        let leave = written.rfind("\u{1b}[?1049l").expect("and left");
        assert!(enter < leave);
        assert!(written[enter..leave].contains("fanout.go:57"), "the table was drawn");
        assert!(written.rfind("\u{1b}[?25h") > written.rfind("\u{1b}[?25l"), "the cursor is back");
    }
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_speaks() {
    let written = on_a_terminal("panic");
    let leave = written.find("\u{1b}[?1049l").expect("the alternate screen was left");
    let message = written.rfind("the table is on the screen").expect("the message was printed");
    assert!(leave < message);
}

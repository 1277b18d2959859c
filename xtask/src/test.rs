pub struct Options {
    pub pure_only: bool,
    pub filter: Option<String>,
}
pub fn run(_: &Options) -> anyhow::Result<()> {
    Ok(())
}

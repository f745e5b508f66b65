use std::fs;

/// What the kernel counts for a process.
pub(crate) struct Memory {
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) reserved_kib: u64,
}

impl Memory {
    pub(crate) fn of(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status"));
        let status = status.expect("the process runs, on Linux");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            figure.unwrap_or_else(|| panic!("no {name} in {status}"))
        };
        Self { resident_kib: field("VmRSS:"), peak_kib: field("VmHWM:"), reserved_kib: field("VmSize:") }
    }
}

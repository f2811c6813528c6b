//! `deploy/README.md`, typed as it stands: from the keys on a laptop to the first edge that runs a policy. Machines are folders
//! and addresses of this one's loopback; `scp` copies between folders, and `ssh … systemctl enable --now UNIT` starts what
//! the unit says, with its environment and its credentials. Real processes.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{json, listed, read};

const README: &str = include_str!("../../../deploy/README.md");

/// What stands for other machines.
const MACHINES: &str = r#"
set -euo pipefail
scp() { # -r FROM root@MACHINE:/etc/remit/
  local machine=${3#root@}; machine=${machine%%:*}
  mkdir -p "$MACHINES/$machine/etc/remit" && cp -r "$2" "$MACHINES/$machine/etc/remit/"
}
ssh() { # root@MACHINE systemctl enable --now UNIT
  local here="$MACHINES/${1#root@}" unit="$UNITS/$5.service" line name program config
  mkdir -p "$here/credentials" "$here/state/remit-voter" "$here/state/remit-edge"
  local environment=()
  while read -r line; do
    line=${line//%d/$here/credentials}; line=${line//%S/$here/state}
    case "$line" in
      LoadCredential=*) name=${line#*=}; cp "$here${name#*:}" "$here/credentials/${name%%:*}" ;;
      Environment=*) environment+=("${line#*=}") ;;
      ExecStart=*) program=${line#*/remit-}; config=${program#* --config }; program=${program%% *} ;;
    esac
  done < "$unit"
  env "${environment[@]}" remit "$program" --config "$here$config" > "$here/log.txt" 2>&1 &
  echo $! >> "$MACHINES/pids"
}
"#;

/// The blocks that are to be typed, without the first: it says where the machines are.
fn script() -> String {
    let blocks: Vec<&str> = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 9, "{} blocks", blocks.len());
    assert!(blocks[0].contains("export VOTER_1="));
    format!("{MACHINES}\n{}", blocks[1..].concat())
}

/// Ends what was started, by the ids that were noted then.
struct Started<'a>(&'a Path);

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let pids = if self.0.exists() { read(self.0) } else { Vec::new() };
        for pid in String::from_utf8_lossy(&pids).lines().filter_map(|line| line.parse().ok()) {
            if let Some(pid) = Pid::from_raw(pid) {
                // One that has ended already is ended.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "these tests are about processes")]
fn the_way_from_a_laptop_to_the_first_edge_is_as_the_guide_says() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let machines = here.join("machines");
    let programs = here.join("bin");
    for made in [&machines, &programs] {
        std::fs::create_dir(made).unwrap();
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_remit"), programs.join("remit")).unwrap();
    let pids = machines.join("pids");
    let _started = Started(&pids);
    // An address for each machine, so that all can have the ports of the guide; and others for each run.
    let net = std::process::id() % 250;
    let at = |machine: u32| format!("127.91.{net}.{machine}");
    // It waits for what takes a moment, and would wait for ever for what never comes.
    let mut command = Command::new("timeout");
    command
        .args(["300", "bash", "-c"])
        .arg(script())
        .current_dir(here)
        .stdin(Stdio::null())
        .env_remove("REMIT_MESH")
        .env("NO_COLOR", "1");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs.display()));
    command.env("MACHINES", &machines).env("UNITS", concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd"));
    for voter in 1..=3 {
        command.env(format!("VOTER_{voter}"), at(voter)).env(format!("ADMIN_{voter}"), at(voter));
    }
    command.env("EDGE", at(9)).env("OPS_EDGE", at(9));
    let output = command.output().expect("bash runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let logs: String = listed(&machines)
        .iter()
        .filter(|name| *name != "pids")
        .map(|name| format!("--- {name}\n{}", String::from_utf8_lossy(&read(&machines.join(name).join("log.txt")))))
        .collect();
    assert!(output.status.success(), "stdout: {out}\nstderr: {err}\n{logs}");

    let ceremony = here.join("ceremony");
    let status = json(&ceremony, &["status"]);
    let attested = status["attested"].as_array().unwrap();
    assert_eq!(attested.len(), 1, "{status}");
    assert_eq!((&attested[0]["edge"], &attested[0]["verdict"]), (&"eu-west-1".into(), &"meant".into()), "{status}");
    assert_eq!(status["edges"][0]["status"]["mode"], "fresh", "{status}");
    assert_eq!(status["control"]["directory"], 2);
}

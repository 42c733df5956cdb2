//! The directory for what has to survive: where it is by default, whether it can be written, and whether its file
//! system can keep the promise.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Where a program of this user keeps its state, if nobody says otherwise: a `martlet` folder under the platform's
/// state directory; for a user without a home, as services are, `/var/lib/martlet`.
///
/// `variable` reads the environment.
#[must_use]
pub fn state_directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| {
        let path = PathBuf::from(variable(name)?);
        // A relative one is to be ignored, and would depend on where the program was started.
        path.is_absolute().then_some(path)
    };
    let state = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        folder("XDG_STATE_HOME").or_else(|| {
            let home = folder("HOME").filter(|home| home != Path::new("/"))?;
            Some(home.join(".local/state"))
        })
    };
    let state = state.or_else(|| cfg!(unix).then(|| PathBuf::from("/var/lib")));
    state.map(|state| state.join("martlet"))
}

/// Makes the directory, for this user only, and tries whether files can be made in it.
pub(super) fn prepare(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    let probe = directory.join(PROBE);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&probe)?;
    fs::remove_file(probe)
}

/// What an operator should know of the file system that the directory is on, if it cannot keep the promise.
///
/// Only Linux tells; elsewhere nothing is known.
pub(super) fn doubt(directory: &Path) -> Option<String> {
    let directory = fs::canonicalize(directory).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    doubt_of(&mounts, &directory)
}

fn doubt_of(mounts: &str, directory: &Path) -> Option<String> {
    let mount = mount_of(mounts, directory)?;
    let kind = mount.kind;
    let has = |wanted: &str| mount.options.split(',').any(|option| option == wanted);
    let what = if MEMORY.contains(&kind) {
        "lies in memory: everything is gone when the machine stops"
    } else if kind == "overlay" && has("volatile") {
        "is mounted 'volatile': nothing is forced to the disk"
    } else if kind == "overlay" {
        return doubt_of_overlay(mounts, mount);
    } else if NETWORK.contains(&kind) || kind.starts_with("fuse.") {
        "is on a network or in a program: what it calls stable is its own affair"
    } else if has("nobarrier") || has("barrier=0") {
        "is mounted without write barriers: a loss of power may lose what was acknowledged"
    } else {
        return None;
    };
    Some(format!("the file system ({kind}) {what}"))
}

/// The writable layer of a container is as good as what it lies on, and goes with the container.
fn doubt_of_overlay(mounts: &str, mount: Mount<'_>) -> Option<String> {
    let upper = mount
        .options
        .split(',')
        .find_map(|option| option.strip_prefix("upperdir="))?;
    let below = mount_of(mounts, Path::new(upper))?;
    // In a container the layer's own place cannot be seen: then it seems to lie on the overlay itself.
    if MEMORY.contains(&below.kind) {
        let kind = below.kind;
        return Some(format!(
            "the file system (overlay on {kind}) lies in memory: everything is gone when the machine stops"
        ));
    }
    None
}

/// A line of `mountinfo`.
#[derive(Debug, Clone, Copy)]
struct Mount<'a> {
    kind: &'a str,
    /// Those of the mount and those of the file system: `rw,noatime,upperdir=...`.
    options: &'a str,
}

/// The mount that a path is on: the one with the longest mount point, the last of several at the same.
fn mount_of<'a>(mounts: &'a str, path: &Path) -> Option<Mount<'a>> {
    let mut best: Option<(usize, Mount<'a>)> = None;
    for line in mounts.lines() {
        let Some((mount_point, mount)) = parse(line) else {
            continue;
        };
        let length = mount_point.as_os_str().len();
        if path.starts_with(&mount_point) && best.is_none_or(|(longest, _)| length >= longest) {
            best = Some((length, mount));
        }
    }
    best.map(|(_, mount)| mount)
}

/// `36 35 98:0 / /mnt rw,noatime shared:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &str) -> Option<(PathBuf, Mount<'_>)> {
    let (head, tail) = line.split_once(" - ")?;
    let mount_point = head.split(' ').nth(4)?;
    let mut tail = tail.split(' ');
    let kind = tail.next()?;
    let options = tail.nth(1)?;
    let mount_point = mount_point.replace("\\040", " ").replace("\\134", "\\");
    Some((PathBuf::from(mount_point), Mount { kind, options }))
}

const PROBE: &str = ".write-test";
const MEMORY: &[&str] = &["tmpfs", "ramfs", "devtmpfs", "rootfs"];
const NETWORK: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "gfs2",
    "ocfs2",
    "virtiofs",
    "vboxsf",
    "fuse",
    "beegfs",
];

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 28 0:20 / /proc rw,nosuid - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 28 0:25 / /tmp rw shared:2 - tmpfs tmpfs rw,size=1g
31 28 0:26 / /mnt/with\\040space rw shared:2 - nfs4 host:/x rw,vers=4.2
32 28 254:1 / /mnt/fast rw - ext4 /dev/vdb rw,nobarrier
33 28 0:30 / /merged rw - overlay overlay rw,lowerdir=/a,upperdir=/tmp/upper,workdir=/w
34 28 0:31 / /box rw - overlay overlay rw,lowerdir=/a,upperdir=/var/upper,workdir=/w
35 28 0:32 / /quick rw - overlay overlay rw,lowerdir=/a,upperdir=/var/u,volatile
36 28 0:33 / /mnt/sshfs rw - fuse.sshfs me@host: rw
";

    #[test]
    fn what_cannot_keep_the_promise_is_named() {
        for (path, part) in [
            ("/tmp/data", "(tmpfs) lies in memory"),
            ("/mnt/with space/data", "(nfs4) is on a network"),
            ("/mnt/fast/x", "without write barriers"),
            ("/merged/data", "(overlay on tmpfs) lies in memory"),
            ("/quick/data", "'volatile'"),
            ("/mnt/sshfs", "(fuse.sshfs)"),
        ] {
            let doubt = doubt_of(MOUNTS, Path::new(path)).unwrap();
            assert!(doubt.contains(part), "{path}: {doubt}");
        }
        for path in ["/var/lib/martlet", "/tmpfile", "/box/data"] {
            assert_eq!(doubt_of(MOUNTS, Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn the_last_mount_at_a_place_counts() {
        let mounts = format!("{MOUNTS}40 28 254:2 / /tmp rw - xfs /dev/vdc rw\n");
        assert_eq!(doubt_of(&mounts, Path::new("/tmp/data")), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn state_goes_under_the_users_state_directory() {
        let of = |variables: &[(&str, &str)]| {
            let find = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            };
            state_directory(find).unwrap().display().to_string()
        };
        assert_eq!(of(&[("HOME", "/h/ann")]), "/h/ann/.local/state/martlet");
        assert_eq!(
            of(&[("HOME", "/h/ann"), ("XDG_STATE_HOME", "/s")]),
            "/s/martlet"
        );
        assert_eq!(
            of(&[("HOME", "/h/ann"), ("XDG_STATE_HOME", "s")]),
            "/h/ann/.local/state/martlet"
        );
        assert_eq!(of(&[]), "/var/lib/martlet");
        assert_eq!(of(&[("HOME", "/")]), "/var/lib/martlet");
    }
}

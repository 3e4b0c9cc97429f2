//! The boot loader's parts: BIOS boot code with what follows it, and the EFI system partition. All of it is made by the
//! image's own GRUB and written into the file where it belongs.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use bakery_host::{Cmd, fs};

use super::{BIOS, Disk, ESP, SECTOR, identifier, io};
use crate::boot_files::{GRUB_MODULES, grub_early};
use crate::rootfs::Rootfs;
use crate::{Error, Result};

/// Writes both.
pub(super) fn write(path: &Path, rootfs: &Rootfs, agent: &Path, disk: &Disk<'_>) -> Result<()> {
    let (boot, core) = (grub(rootfs, agent)?, grub_core(rootfs, agent, disk, "i386-pc")?);
    bios(path, boot, core)?;
    esp(path, &grub_core(rootfs, agent, disk, "x86_64-efi")?, disk)
}

/// The first-stage boot code of GRUB, read inside the sandbox.
fn grub(rootfs: &Rootfs, agent: &Path) -> Result<Vec<u8>> {
    let output = rootfs.run(agent, "/bin/cat", &["/usr/lib/grub/i386-pc/boot.img"])?;
    if !output.success() || output.stdout.len() != 512 {
        return Err(Error::new("the image has no GRUB for BIOS")
            .hint("the packages grub-pc-bin and grub-efi-amd64-bin belong into the base"));
    }
    Ok(output.stdout)
}

/// GRUB's image with all that it needs, made by the image's own grub-mkimage.
fn grub_core(rootfs: &Rootfs, agent: &Path, disk: &Disk<'_>, platform: &str) -> Result<Vec<u8>> {
    let own: &[&str] =
        if platform == "i386-pc" { &["biosdisk"] } else { &["efi_gop", "efi_uga", "all_video"] };
    let modules: Vec<&str> = GRUB_MODULES.iter().chain(own).copied().collect();
    let script = format!(
        "cat > /dev/shm/early.cfg <<'END'\n{}END\ngrub-mkimage -O {platform} -o /dev/shm/core -c /dev/shm/early.cfg -p /boot/grub {} && cat /dev/shm/core",
        grub_early(&disk.root_uuid()),
        modules.join(" ")
    );
    let output = rootfs.run(agent, "/bin/sh", &["-c", &script])?;
    if !output.success() || output.stdout.is_empty() {
        return Err(Error::new(format!(
            "the boot loader for {platform} could not be made: {}",
            output.error_text().trim()
        )));
    }
    Ok(output.stdout)
}

/// Boot code into the first sector, the rest into the BIOS boot partition, each told where the next part is
/// (`grub-core/boot/i386/pc/{boot,diskboot}.S`, `util/setup.c` of GRUB).
fn bios(path: &Path, mut boot: Vec<u8>, mut core: Vec<u8>) -> Result<()> {
    let first = BIOS.0 / SECTOR;
    if core.len() as u64 > BIOS.1 || core.len() < 1024 {
        return Err(Error::new("the boot loader does not fit into its partition"));
    }
    boot[0x5c..0x64].copy_from_slice(&first.to_le_bytes());
    boot[0x64] = 0xff;
    // Two no-operations: the drive that the BIOS names is the one to read.
    boot[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    core.resize(core.len().div_ceil(512) * 512, 0);
    let rest = (core.len() / 512 - 1) as u16;
    core[0x1f4..0x1fc].copy_from_slice(&(first + 1).to_le_bytes());
    core[0x1fc..0x1fe].copy_from_slice(&rest.to_le_bytes());
    core[0x1fe..0x200].copy_from_slice(&0x820u16.to_le_bytes());
    let mut file = fs::open_rw(path)?;
    // The first 440 bytes are code; what follows is the protective partition table.
    file.write_all(&boot[..440]).map_err(io(path))?;
    file.seek(SeekFrom::Start(BIOS.0)).and_then(|_| file.write_all(&core)).map_err(io(path))
}

fn esp(path: &Path, image: &[u8], disk: &Disk<'_>) -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::new(e.to_string()))?;
    let (fat, efi) = (folder.path().join("esp"), folder.path().join("BOOTX64.EFI"));
    fs::write_atomic(&efi, image)?;
    fs::create(&fat)?.set_len(ESP.1).map_err(io(&fat))?;
    let serial = identifier(disk.lineage, "esp").simple().to_string()[..8].to_owned();
    let tool = |cmd: Cmd| {
        cmd.env("SOURCE_DATE_EPOCH", "1500000000")
            .env("MTOOLS_SKIP_CHECK", "1")
            .run()
            .map_err(|e| Error::new(format!("the EFI system partition could not be made: {e}")))
    };
    tool(
        Cmd::new("mkfs.vfat")
            .args(["--invariant", "-F", "32", "-s", "1", "-n", "ESP", "-i", &serial])
            .arg(&fat),
    )?;
    tool(Cmd::new("mmd").arg("-i").arg(&fat).args(["::/EFI", "::/EFI/BOOT"]))?;
    tool(Cmd::new("mcopy").arg("-i").arg(&fat).arg(&efi).arg("::/EFI/BOOT/BOOTX64.EFI"))?;
    let bytes = fs::read(&fat)?;
    let mut file = fs::open_rw(path)?;
    // Zeros stay holes.
    for (at, block) in bytes.chunks(4096).enumerate().filter(|(_, b)| b.iter().any(|x| *x != 0)) {
        file.seek(SeekFrom::Start(ESP.0 + at as u64 * 4096))
            .and_then(|_| file.write_all(block))
            .map_err(io(path))?;
    }
    file.sync_all().map_err(io(path))
}

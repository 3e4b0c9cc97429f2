//! `images` and `show`.

use bakery_events::{Event, Reporter as _, exit};
use bakery_store::Store;

use super::Outcome;
use crate::terminal::{self, Terminal};

fn size(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

pub(crate) fn list(terminal: &Terminal) -> Outcome {
    let images = Store::open()?.images().list()?;
    if terminal.is_json() {
        terminal.event(&Event::Result {
            verb: "images".into(),
            data: serde_json::to_value(&images).unwrap_or_default(),
        });
        return Ok(exit::OK);
    }
    let mut rows = vec![["ID", "NAME", "CREATED", "BASE", "DISK"].map(str::to_owned).to_vec()];
    rows.extend(
        images.iter().map(|i| {
            vec![i.id.clone(), i.name.clone(), i.created.clone(), i.base.clone(), size(i.disk_size)]
        }),
    );
    terminal::table(&rows);
    Ok(exit::OK)
}

pub(crate) fn show(wanted: &str, terminal: &Terminal) -> Outcome {
    let store = Store::open()?;
    let image = store.images().find(wanted)?;
    if terminal.is_json() {
        terminal.event(&Event::Result {
            verb: "show".into(),
            data: serde_json::to_value(&image).unwrap_or_default(),
        });
        return Ok(exit::OK);
    }
    terminal::say(&format!(
        "id        {}\nname      {}\ncreated   {}\nbase      {}\nkey       {}\ndisk      {}\nroot uuid {}",
        image.id,
        image.name,
        image.created,
        image.base,
        image.key,
        size(image.disk_size),
        image.root_uuid
    ));
    for (format, name) in &image.files {
        terminal::say(&format!(
            "file      {format}: {}",
            store.images().folder(&image.id).join(name).display()
        ));
    }
    for id in &image.layers {
        let layer = store.layer_info(id);
        let made = layer.map_or_else(
            || "gone".to_owned(),
            |l| format!("{:>8.1} MiB  {}", l.bytes as f64 / f64::from(1 << 20), l.made_by),
        );
        terminal::say(&format!("layer     {} {made}", &id.as_str()[..12]));
    }
    for note in &image.notes {
        terminal::say(&format!("note      {note}"));
    }
    Ok(exit::OK)
}

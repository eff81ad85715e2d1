//! Colours and fonts of pictures and pages: those of the server's page.

/// A token, its colour in light and in dark.
type Token = (&'static str, &'static str, &'static str);

/// Tokens of the server's page; a test compares them.
const TOKENS: [Token; 6] = [
    ("page", "#fff", "#15171a"),
    ("soft", "#f5f6f8", "#1e2125"),
    ("line", "#e2e5ea", "#31353c"),
    ("text", "#1a1c20", "#e7e9ec"),
    ("muted", "#5a606a", "#a3a9b3"),
    ("danger", "#b3261e", "#ff9a90"),
];

/// Colours of layers, curves and streams, each with enough contrast on `page`.
const COLOURS: [Token; 22] = [
    ("dns", "#5a606a", "#a3a9b3"),
    ("tcp", "#2257d2", "#8db1ff"),
    ("tls", "#7a3fb0", "#c9a4f5"),
    ("http", "#0b7168", "#5fc9bb"),
    ("ws", "#b04a12", "#f5a46c"),
    ("h2", "#2b7a2f", "#86cf86"),
    ("line", "#0a6a86", "#74c5de"),
    ("data", "#80620c", "#dfc15c"),
    ("note", "#5a606a", "#a3a9b3"),
    ("rtt", "#b04a12", "#f5a46c"),
    ("cwnd", "#2257d2", "#8db1ff"),
    ("rate", "#2b7a2f", "#86cf86"),
    ("window", "#7a3fb0", "#c9a4f5"),
    ("unread", "#a8326b", "#f29abf"),
    ("stream0", "#2257d2", "#8db1ff"),
    ("stream1", "#b04a12", "#f5a46c"),
    ("stream2", "#2b7a2f", "#86cf86"),
    ("stream3", "#7a3fb0", "#c9a4f5"),
    ("stream4", "#0b7168", "#5fc9bb"),
    ("stream5", "#a8326b", "#f29abf"),
    ("stream6", "#80620c", "#dfc15c"),
    ("stream7", "#4a5a8a", "#a9b8e6"),
];

/// The shapes, without colours.
const SHAPES: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;stroke:none}\
.title{font-size:20px;font-weight:600}.diagnosis{font-size:15px;font-weight:600}\
.heading{font-size:16px;font-weight:600}.strong{font-weight:600}.small{font-size:11.5px}\
.number{font-variant-numeric:tabular-nums}.label{font-size:13px}\
.mono{font:12px ui-monospace,'SF Mono','Cascadia Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}\
.tag{font-weight:600}line,path{fill:none;stroke-width:1.6}.thin{stroke-width:1}\
.many{stroke-opacity:.5}.many.tip{fill-opacity:.5}\
.life{stroke-width:2}.grid,.base{stroke-width:1}.base.tip{stroke-width:0}\
.inferred{stroke-dasharray:5 4}.tip{stroke:none;stroke-dasharray:none}\
.band{stroke:none;fill-opacity:.22}.area{stroke:none;fill-opacity:.14}.curve{stroke-width:1.5}\
.bracket{stroke-width:2}.break{stroke-width:1;stroke-dasharray:2 5}\
.gap{stroke-width:1;stroke-dasharray:1 5}.cell,.head{stroke-width:1}";

/// Returns the style of a picture. Colours are written out, as viewers of SVG know no variables.
pub(super) fn svg_style() -> String {
    let light = colours(|(_, light, _)| light);
    let dark = colours(|(_, _, dark)| dark);
    format!("{SHAPES}{light}@media screen and (prefers-color-scheme:dark){{{dark}}}")
}

fn colours(of: fn(Token) -> &'static str) -> String {
    let token = |name| TOKENS.iter().find(|token| token.0 == name).map_or("", |token| of(*token));
    let (page, soft, line) = (token("page"), token("soft"), token("line"));
    let (text, muted, danger) = (token("text"), token("muted"), token("danger"));
    let mut style = format!(
        "text{{fill:{text}}}text.quiet{{fill:{muted}}}.paper{{fill:{page}}}.soft{{fill:{soft}}}\
         .grid,.gap{{stroke:{line}}}.base,.break{{stroke:{muted}}}.base.tip,\
         .base.band{{fill:{muted}}}\
         .life{{stroke:{text}}}.mark{{fill:{danger}}}.mark.unknown{{fill:{muted}}}\
         .cell{{fill:{page};stroke:{muted}}}.head{{fill:{soft};stroke:{line}}}"
    );
    for (name, light, dark) in COLOURS {
        let colour = of((name, light, dark));
        style.push_str(&format!(
            ".{name}{{stroke:{colour}}}text.{name}{{stroke:none}}rect.{name},.{name}.tip,\
            .{name}.band,.{name}.area,\
             .{name}.dot,text.{name}{{fill:{colour}}}"
        ));
    }
    style.push_str(&format!(
        ".alarm{{stroke:{danger}}}text.alarm{{stroke:none;font-weight:600}}.alarm.tip,\
        .alarm.band,text.alarm{{fill:{danger}}}rect{{stroke:none}}\
         rect.cell{{stroke:{muted}}}rect.head{{stroke:{line}}}"
    ));
    style
}

/// The page around the picture.
const PAGE: &str = "\
*{box-sizing:border-box}\
body{margin:0;background:var(--page);color:var(--text);font:1rem/1.5 system-ui,sans-serif;\
font-variant-numeric:tabular-nums}\
main{max-width:70rem;margin:0 auto;padding:1rem}\
svg{display:block;width:100%;height:auto}\
.frame,.wide{overflow-x:auto}.picture{min-width:44rem}\
.zoom{position:sticky;top:.25rem;display:flex;gap:.25rem;justify-content:flex-end;z-index:1}\
[hidden]{display:none!important}\
button{min-height:2rem;min-width:2.25rem;padding:0 .7rem;font:inherit;font-size:.875rem;\
color:var(--text);background:var(--page);border:1px solid var(--line);border-radius:.5rem;\
cursor:pointer}button:hover{background:var(--soft)}\
:focus-visible{outline:2px solid var(--text);outline-offset:2px}\
h1{font-size:1.25rem;font-weight:600;margin:.5rem 0 .25rem;overflow-wrap:anywhere}\
.facts{margin:0;color:var(--muted);font-size:.875rem}\
.limit{margin:1rem 0 .5rem;padding:.6rem 1rem;background:var(--soft);\
border-left:.3rem solid var(--danger)}.limit.unknown{border-color:var(--muted)}\
.limit p{margin:.15rem 0;font-size:.875rem;overflow-wrap:anywhere}\
.limit p:first-child{font-size:1rem;font-weight:600}\
h2{font-size:1.0625rem;font-weight:600;margin:2rem 0 .75rem}\
summary{cursor:pointer;font-size:1.0625rem;font-weight:600;margin:1.5rem 0 .75rem}\
table{width:100%;border-collapse:collapse;font-size:.875rem}\
th{padding:.25rem .6rem;text-align:left;color:var(--muted);font-weight:500;\
border-bottom:1px solid var(--line);white-space:nowrap}\
td{padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:baseline;\
overflow-wrap:anywhere}\
td:not(:last-child){white-space:nowrap}td:first-child{text-align:right}\
td p{margin:.25rem 0 0;color:var(--muted);max-width:44rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem;margin:.25rem 0 0;\
font:.8125rem/1.5 ui-monospace,'SF Mono',Menlo,Consolas,monospace}\
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}\
.alarm{color:var(--danger)}\
@media screen and (max-width:44rem){thead{display:none}\
tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--line)}\
td,td:first-child{display:inline-block;padding:0 .75rem 0 0;border:0;text-align:left}\
td:last-child{display:block}td:not(:last-child){color:var(--muted)}}\
footer{margin:1.5rem 0;color:var(--muted);font-size:.875rem}\
@media print{.zoom{display:none!important}main{max-width:none;padding:0}\
.frame,.wide{overflow:visible}.picture{min-width:0;width:auto!important}\
svg,tr{break-inside:avoid}summary,h2{break-after:avoid}td p{color:inherit}}";

/// Returns the style of a page.
pub(super) fn page_style() -> String {
    let tokens = |of: fn(Token) -> &'static str| {
        let all = TOKENS.iter().map(|token| format!("--{}:{};", token.0, of(*token)));
        all.collect::<String>()
    };
    let (light, dark) = (tokens(|token| token.1), tokens(|token| token.2));
    format!(
        ":root{{color-scheme:light dark;{light}}}\
         @media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{PAGE}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::curves::CLASSES;
    use crate::render::model::Layer;

    #[test]
    fn tokens_are_those_of_the_page() {
        let page = include_str!("../../../page/web/page.css");
        for (name, light, dark) in TOKENS {
            for colour in [light, dark] {
                assert!(page.contains(&format!("--{name}:{colour};")), "{name} {colour}");
            }
        }
    }

    #[test]
    fn each_layer_and_curve_has_a_colour() {
        let names = Layer::ALL.iter().map(|layer| layer.class()).chain(CLASSES);
        for name in names {
            assert!(COLOURS.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }
    /// A phone has no room for five columns; paper and a wide window keep them.
    #[test]
    fn a_row_of_the_table_is_a_block_on_a_narrow_screen_only() {
        let style = page_style();
        let narrow = style.split("@media screen and (max-width:44rem){").nth(1).unwrap();
        let narrow = narrow.split("}}").next().unwrap();
        assert!(
            narrow.contains("tr{display:block") && narrow.contains("td:last-child{display:block")
        );
        assert_eq!(style.matches("tr{display:block").count(), 1);
    }
}

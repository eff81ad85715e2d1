//! `/help`: the commands to type, with the host that the client used, in English and Korean; and
//! the reply to `ANYPORT/1 HELP`.

use anyport_proto::access::Rights;
use http::header;

use super::commands::Address;
use crate::session::http::answer::Answer;
use crate::session::http::handler::{Opened, Request};
#[cfg(test)]
use crate::session::http::page::LANGUAGES;

/// Sends the lines to type, in the language that the client prefers.
pub(super) fn open(request: &Request<'_>) -> Opened {
    let head = request.head;
    let language = request.asked.page.language;
    let base_path = request.context.config.base_path.as_str();
    let rights = request.context.grant.rights();
    let text = text(head.host(), base_path, language, rights, request.context.is_encrypted);
    let answer = Answer::fresh(text).with(header::CONTENT_LANGUAGE, language);
    Opened::Answer(answer.with(header::VARY, "Accept-Language"))
}

/// Returns the commands for a client that used `host` (`name:port`, perhaps empty) in one of
/// the languages of pages, without those that need other rights.
fn text(host: &str, base_path: &str, language: &str, rights: Rights, is_https: bool) -> String {
    let address = Address::new(host, base_path, is_https);
    let mut is_shown = true;
    let lines = TEXT.into_iter().filter(|[command, english, _]| {
        if command.is_empty() && !english.is_empty() && !english.starts_with(' ') {
            is_shown = match *english {
                SEND => rights.contains(Rights::WRITE),
                GET => rights.contains(Rights::READ),
                _ => true,
            };
        }
        is_shown && (base_path.is_empty() || is_for_proxies(command, english))
    });
    let lines: Vec<[&str; 3]> = lines.collect();
    let commands: Vec<String> = lines.iter().map(|[command, ..]| address.filled(command)).collect();
    let is_noted = |[_, note, _]: &[&str; 3]| !note.is_empty();
    let noted = commands.iter().zip(&lines).filter(|(_, line)| is_noted(line));
    let width = noted.map(|(command, _)| command.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (command, [_, english, korean]) in commands.iter().zip(&lines) {
        let words = if language == "ko" { korean } else { english };
        match (command.as_str(), *words) {
            ("", words) => text.push_str(words),
            (command, "") => text.push_str(&format!("  {command}")),
            (command, note) => text.push_str(&format!("  {command:width$} # {note}")),
        }
        text.push('\n');
    }
    text
}

/// Returns whether a line makes sense behind a proxy, which forwards HTTP and WebSocket only.
fn is_for_proxies(command: &str, english: &str) -> bool {
    command.contains("://") || (command.is_empty() && !english.starts_with(' '))
}

/// Returns the lines that a client may send over raw TCP, without the preface.
pub(in crate::session) fn lines(rights: Rights) -> String {
    let put = if rights.contains(Rights::WRITE) { "PUT NAME [size=BYTES] | " } else { "" };
    let get = if rights.contains(Rights::READ) { "GET NAME | LIST [DIR] | " } else { "" };
    format!("{put}{get}{LINES}")
}

const LINES: &str = "JOIN ROOM [as NICK] | PIPE KEY | TAKE KEY | ECHO | TIME | GREET | SYN | HELP; \
    each after ANYPORT/1; \
     more: curl http://HOST:PORT/help";

// Headings of what depends on the access to files.
const SEND: &str = "Send a file";
const GET: &str = "List and download files";

/// Each line: a command, then a note about it in English and in Korean; without a command a line of
/// text in both. The commands are the same in both languages because there is one of each.
const TEXT: [[&str; 3]; 43] = [
    [
        "",
        "This port detects the protocol: raw TCP, HTTP or WebSocket. A file is stored \
        complete or not at all.",
        "이 포트는 프로토콜(TCP, HTTP, WebSocket)을 스스로 구별합니다. 파일은 온전히 저장되거나 아예 저장되지 않습니다.",
    ],
    ["", "", ""],
    ["", SEND, "파일 보내기"],
    ["curl -T FILE http://{host}/", "", ""],
    [
        "curl -F file=@FILE -F file=@FILE http://{host}/",
        "several files in one request",
        "여러 파일을 한 번에",
    ],
    [
        "curl -C 1 -T FILE http://{host}/",
        "resume an upload: the answer names the -C to use",
        "끊긴 보내기를 이어서: 응답이 알려 주는 -C 값을 사용",
    ],
    ["nc -N {name} {port} < FILE", "OpenBSD nc (Debian, Ubuntu)", "OpenBSD nc(Debian, Ubuntu)"],
    ["ncat {name} {port} < FILE", "ncat of Nmap", "Nmap의 ncat"],
    ["nc {name} {port} < FILE", "BusyBox nc", "BusyBox nc"],
    ["nc -q 1 {name} {port} < FILE", "netcat-traditional", "netcat-traditional"],
    [
        "nc -w 3 {name} {port} < FILE",
        "other nc (GNU, macOS): closes after 3 s without data",
        "다른 nc(GNU, macOS): 3초 동안 데이터가 없으면 닫음",
    ],
    ["socat -t 5 - TCP:{address}:{port} < FILE", "", ""],
    ["websocat -b ws://{host}/files/NAME < FILE", "", ""],
    ["anyport send FILE {host}", "", ""],
    ["", "", ""],
    [
        "",
        "  Raw bytes end when nc closes the connection, or half-closes it and waits for \
        the receipt. Until then",
        "  이름 없이 보낸 바이트는 nc가 연결을 닫거나, 보내는 쪽만 닫고 영수증을 기다릴 때 끝납니다. 그때까지 파일은",
    ],
    [
        "",
        "  the file is not stored, and a minute without data ends the transfer. To name the file:",
        "  저장되지 않으며, 1분 동안 데이터가 없으면 전송이 끝납니다. 파일 이름을 정하려면:",
    ],
    ["(echo ANYPORT/1 PUT NAME; cat FILE) | nc -N {name} {port}", "", ""],
    ["", "", ""],
    ["", GET, "파일 목록과 내려받기"],
    ["curl http://{host}/", "list; directories end in /", "목록; 디렉터리는 /로 끝남"],
    ["curl -O http://{host}/files/NAME", "", ""],
    [
        "curl -O -J \"http://{host}/?zip\"",
        "all files as one archive (or ?tar)",
        "모든 파일을 압축 파일 하나로(또는 ?tar)",
    ],
    [
        "curl -C - -O http://{host}/files/NAME",
        "resume an interrupted download",
        "끊긴 내려받기를 이어서 받기",
    ],
    ["anyport get {host}/NAME", "", ""],
    ["", "", ""],
    [
        "",
        "Pass a file to another client through a pipe; nothing is stored",
        "파이프로 다른 클라이언트에 파일 전달하기(서버에 저장하지 않음)",
    ],
    ["curl -T FILE http://{host}/pipe/KEY", "sender", "보내는 쪽"],
    ["curl -o FILE http://{host}/pipe/KEY", "receiver", "받는 쪽"],
    ["(echo ANYPORT/1 PIPE KEY; cat FILE) | nc -N {name} {port}", "sender", "보내는 쪽"],
    ["echo ANYPORT/1 TAKE KEY | nc {name} {port}", "receiver", "받는 쪽"],
    ["", "", ""],
    ["", "Talk in a room, here the room lobby", "대화방에서 대화하기(여기서는 lobby 방)"],
    [
        "nc {name} {port}",
        "first line: ANYPORT/1 JOIN lobby as YOU",
        "첫 줄: ANYPORT/1 JOIN lobby as YOU",
    ],
    ["websocat ws://{host}/rooms/lobby?as=YOU", "", ""],
    ["curl -N http://{host}/rooms/lobby", "listen", "듣기"],
    ["curl -d TEXT http://{host}/rooms/lobby?as=YOU", "send a message", "메시지 보내기"],
    ["anyport chat {host}/rooms/lobby --as YOU", "", ""],
    ["", "", ""],
    ["", "Other services", "그 밖의 기능"],
    ["curl http://{host}/time", "local time of the server", "서버의 현지 시각"],
    [
        "curl --data-binary @FILE http://{host}/echo",
        "returns the content",
        "보낸 내용을 그대로 돌려줌",
    ],
    ["curl http://{host}/readyz", "health of the server", "서버 상태"],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_name_the_host_that_was_asked() {
        for language in LANGUAGES {
            let text = text("127.0.0.1:8331", "", language, Rights::DEFAULT, false);
            for line in [
                "curl -T FILE http://127.0.0.1:8331/",
                "nc -N 127.0.0.1 8331 < FILE",
                "ncat 127.0.0.1 8331 < FILE",
            ] {
                assert!(text.contains(line), "no {line:?} in\n{text}");
            }
        }
    }

    #[test]
    fn behind_a_proxy_the_lines_have_its_path() {
        let text = text("h", "/share", "en", Rights::DEFAULT, false);
        for line in text.lines().filter(|line| line.starts_with("  ")) {
            assert!(line.contains("://h/share/"), "{line}");
        }
        assert!(text.contains("curl -T FILE http://h/share/\n"), "{text}");
    }

    #[test]
    fn both_languages_have_the_same_commands_and_a_text_for_each_line() {
        let [english, korean] =
            LANGUAGES.map(|language| text("h:1", "", language, Rights::DEFAULT, false));
        assert_eq!(english.lines().count(), TEXT.len());
        assert_eq!(korean.lines().count(), TEXT.len());
        let command =
            |line: &str| line.split(" # ").next().unwrap_or_default().trim_end().to_owned();
        let mut commands = 0;
        for ((english, korean), [line, ..]) in english.lines().zip(korean.lines()).zip(TEXT) {
            if ["curl", "nc ", "anyport", "ncat", "socat", "websocat"]
                .iter()
                .any(|it| line.contains(it))
            {
                assert_eq!(command(english), command(korean));
                commands += 1;
            }
        }
        assert!(commands > 20, "{commands}");
        for [_, english, korean] in TEXT {
            assert_eq!(english.is_empty(), korean.is_empty(), "{english:?} {korean:?}");
        }
        assert!(english.is_ascii());
    }
}

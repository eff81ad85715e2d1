// @ts-check
// Everything that people read, in English and Korean. `{n}` is a value, and `{n?file:files}` one of
// two words: the first if n is 1.

/** @type {Record<string, [english: string, korean: string]>} */
const words = {
  // The frame.
  'files': ['Files', '파일'],
  'send.files': ['Send files', '파일 보내기'],
  'encrypted': ['Encrypted', '암호화됨'],
  'not.encrypted': ['Not encrypted', '암호화 안 됨'],
  'use.https': ['Switch to the encrypted address', '암호화된 주소로 바꾸기'],
  'room': ['Room', '대화방'],
  'unread': ['{n} unread', '읽지 않음 {n}'],
  'connect': ['Connect', '연결 방법'],
  'sign.out': ['Sign out', '로그아웃'],
  'language': ['한국어', 'English'],
  'close': ['Close', '닫기'],
  'cancel': ['Cancel', '취소'],
  'copy': ['Copy', '복사'],
  'copied': ['Copied', '복사했습니다'],
  'copy.failed': ['Select and copy it', '선택해서 복사하세요'],
  'path': ['Path', '경로'],
  'skip': ['Skip to the files', '파일 목록으로 건너뛰기'],

  // Sizes and times.
  'seconds': ['{n} s', '{n}초'],
  'minutes.seconds': ['{m} min {s} s', '{m}분 {s}초'],
  'hours.minutes': ['{h} h {m} min', '{h}시간 {m}분'],
  'days.hours': ['{d} days {h} h', '{d}일 {h}시간'],
  'now': ['just now', '방금'],

  // The send strip.
  'choose': ['Choose files', '파일 선택'],
  'or.drop': ['or drop them anywhere', '또는 아무 곳에나 끌어다 놓으세요'],
  'folder': ['folder', '폴더'],
  'choose.folder': ['Choose a folder', '폴더 선택'],
  'drop.here': ['Drop to send to {place}', '놓으면 {place}(으)로 보냅니다'],
  'drop.send': ['Drop to send', '놓으면 보냅니다'],
  'unreadable': ['{n} {n?entry:entries} could not be read and {n?was:were} not sent: {names}',
    '읽을 수 없어 보내지 못한 항목 {n}개: {names}'],
  'paste.name': ['Pasted {time}', '붙여넣기 {time}'],

  // The files.
  'name': ['Name', '이름'],
  'size': ['Size', '크기'],
  'modified': ['Modified', '수정 시각'],
  'empty': ['No files yet.', '아직 파일이 없습니다.'],
  'from.terminal': ['From a terminal:', '터미널에서:'],
  'loading': ['Loading…', '불러오는 중…'],
  'filter': ['Filter {n} entries', '항목 {n}개에서 찾기'],
  'no.match': ['Nothing matches “{text}”.', '“{text}”에 맞는 항목이 없습니다.'],
  'count.files': ['{n} {n?file:files}', '파일 {n}개'],
  'count.folders': ['{n} {n?folder:folders}', '폴더 {n}개'],
  'more.rows': ['Show {n} more', '{n}개 더 보기'],
  'left.out': ['{n} {n?entry is:entries are} not shown.', '표시하지 않은 항목 {n}개'],
  'new.folder': ['New folder', '새 폴더'],
  'new.folder.name': ['Name of the new folder', '새 폴더 이름'],
  'create': ['Create', '만들기'],
  'download.all': ['Download all', '모두 내려받기'],
  'selected': ['{n} selected', '{n}개 선택'],
  'select': ['Select {name}', '{name} 선택'],
  'select.all': ['Select all', '모두 선택'],
  'clear': ['Clear selection', '선택 해제'],
  'download': ['Download', '내려받기'],
  'download.zip': ['Download zip', 'zip으로 내려받기'],
  'too.many': ['Too many for one zip: select fewer, or download the whole folder.',
    '한 zip에 담기에는 너무 많습니다. 더 적게 선택하거나 폴더 전체를 내려받으세요.'],
  'rename': ['Rename', '이름 바꾸기'],
  'rename.of': ['New name of {name}', '{name}의 새 이름'],
  'delete': ['Delete', '삭제'],
  'delete.sure': ['Delete {n} now', '정말 {n}개 삭제'],
  'deleted': ['{n} deleted', '{n}개를 삭제했습니다'],
  'renamed': ['Renamed to {name}', '이름을 {name}(으)로 바꿨습니다'],
  'created': ['Folder {name} created', '{name} 폴더를 만들었습니다'],
  'bad.name': ['A name has no slash and is not “.” or “..”.',
    '이름에는 슬래시를 쓸 수 없고 “.”이나 “..”도 쓸 수 없습니다.'],
  'share': ['Share', '공유'],
  'of': ['{done} of {size}', '{size} 중 {done}'],
  'receiving': ['receiving', '받는 중'],
  'exact.bytes': ['{n} bytes', '{n}바이트'],
  'not.found': ['This folder does not exist.', '이 폴더는 없습니다.'],
  'to.top': ['Back to the files', '파일 목록으로'],
  'retry': ['Try again', '다시 시도'],

  // Rights.
  'token': ['Token', '토큰'],
  'token.enter': ['Enter the token that you received for this server.',
    '이 서버의 토큰을 입력하세요.'],
  'token.show': ['Show', '보기'],
  'token.hide': ['Hide', '가리기'],
  'continue': ['Continue', '계속'],
  'token.wrong': ['This token is not valid here. Check that it is complete.',
    '여기서 쓸 수 없는 토큰입니다. 빠진 글자가 없는지 확인하세요.'],
  'token.cookie': ['This browser does not keep the cookie of this page.',
    '이 브라우저가 이 페이지의 쿠키를 저장하지 않습니다.'],
  'token.often': ['Too many attempts. Wait a minute, then try again.',
    '너무 여러 번 시도했습니다. 1분 뒤에 다시 시도하세요.'],
  'token.ended': ['You were signed out. Enter the token to continue.',
    '로그아웃되었습니다. 계속하려면 토큰을 입력하세요.'],
  'token.plain': ['This connection is not encrypted: others on the network can read the token.',
    '이 연결은 암호화되지 않아, 같은 네트워크의 다른 사람이 토큰을 읽을 수 있습니다.'],
  'thanks': ['Thank you, that is all.', '고맙습니다. 모두 받았습니다.'],
  'nothing.allowed': ['This token allows nothing on this page.',
    '이 토큰으로 이 페이지에서 할 수 있는 일이 없습니다.'],

  // Trouble.
  'offline': ['Connection lost. Uploads continue when it returns.',
    '연결이 끊어졌습니다. 다시 연결되면 업로드를 이어서 합니다.'],
  'offline.read': ['Connection lost. Trying again.', '연결이 끊어졌습니다. 다시 연결하는 중입니다.'],
  'stopped.code': ['The server answered {status}.', '서버가 {status}(으)로 응답했습니다.'],

  // Uploads.
  'transfers': ['Transfers', '전송'],
  'of.size': ['{n} of {size}', '{size} 중 {n}'],
  'left': ['{time} left', '{time} 남음'],
  'state.waiting': ['waiting', '대기 중'],
  'state.hashing': ['checking', '확인 중'],
  'state.paused': ['paused', '일시정지됨'],
  'state.offline': ['waiting for the connection', '연결을 기다리는 중'],
  'pause': ['Pause', '일시정지'],
  'resume': ['Resume', '이어서 보내기'],
  'pause.all': ['Pause all', '모두 일시정지'],
  'resume.all': ['Resume all', '모두 이어서 보내기'],
  'cancel.all': ['Cancel all', '모두 취소'],
  'try.now': ['Try now', '지금 시도'],
  'choose.again': ['Choose file', '파일 선택'],
  'more.of': ['More for {name}', '{name} 더 보기'],
  'add.again': ['Add {name} again to continue at {percent}',
    '{name}을(를) 다시 추가하면 {percent}부터 이어집니다'],
  'allow.again': ['Allow reading {name} to continue at {percent}',
    '{name} 읽기를 허용하면 {percent}부터 이어집니다'],
  'other.file': ['This is another file than {name}.', '{name}와(과) 다른 파일입니다.'],
  'stored.verified': ['Stored and verified', '저장하고 검증했습니다'],
  'stored': ['Stored, size compared', '저장했습니다(크기만 비교)'],
  'there.verified': ['Already there, verified', '이미 있음, 검증했습니다'],
  'there': ['Already there, same size and time', '이미 있음(크기와 시각 같음)'],
  'stored.as': ['as {name}', '{name}(으)로'],
  'stored.count': ['{n} {n?file:files} stored', '파일 {n}개를 저장했습니다'],
  'copy.link': ['Copy link', '링크 복사'],
  'details': ['Details', '자세히'],
  'digest': ['Digest', '다이제스트'],
  'rate': ['Rate', '속도'],
  'qr.of': ['QR code of the link', '링크의 QR 코드'],
  'qr': ['QR code', 'QR 코드'],
  'sending': ['Sending {name}', '{name} 보내는 중'],
  'sending.count': ['Sending {n} files', '파일 {n}개 보내는 중'],
  'not.sent': ['{name} was not sent: {reason}',
    '{name}을(를) 보내지 못했습니다: {reason}'],
  'more.transfers': ['{n} more', '{n}개 더'],
  'failed.count': ['{n} not sent', '{n}개 보내지 못함'],
  'error.changed': ['The file changed or can no longer be read. Nothing of it was stored.',
    '파일이 바뀌었거나 더는 읽을 수 없습니다. 아무것도 저장하지 않았습니다.'],
  'error.differs': ['The server received other content than this file has. Nothing was stored.',
    '서버가 받은 내용이 이 파일과 다릅니다. 아무것도 저장하지 않았습니다.'],
  'error.full': ['The server has no space left.', '서버에 남은 공간이 없습니다.'],
  'error.signed-out': ['Sign in again to continue.', '계속하려면 다시 로그인하세요.'],

  // The room, the connect sheet, and the share sheet.
  'room.say': ['Say something', '메시지'],
  'room.send': ['Send', '보내기'],
  'room.joined': ['{nick} joined', '{nick} 님이 들어왔습니다'],
  'room.left': ['{nick} left', '{nick} 님이 나갔습니다'],
  'room.lost': ['Some messages are missing here', '메시지 일부가 빠졌습니다'],
  'room.long': ['{n} is too long: a message has at most {max}. Send it as a file.',
    '{n}은(는) 너무 깁니다. 메시지는 {max}까지입니다. 파일로 보내세요.'],
  'room.many': ['Too many messages wait for the connection.',
    '연결을 기다리는 메시지가 너무 많습니다.'],
  'room.away': ['Not connected. What you write is sent when the connection returns.',
    '연결되지 않았습니다. 적은 메시지는 다시 연결되면 보냅니다.'],
  'room.remove': ['Remove', '지우기'],
  'room.here': ['{n} here', '{n}명 있음'],
  'room.listeners': ['and {n} reading', '외 {n}명이 읽는 중'],
  'room.nick': ['You are', '내 이름'],
  'room.nick.rule': ['A name has up to 32 letters, digits, and “-”, “_”, “.”.',
    '이름은 글자, 숫자, “-”, “_”, “.”으로 32자까지 쓸 수 있습니다.'],
  'room.file': ['Send a file', '파일 보내기'],
  'copy.line': ['Copy the line for {name}', '{name} 명령 복사'],
  'connect.only': ['This address works only on this computer.',
    '이 주소는 이 컴퓨터에서만 쓸 수 있습니다.'],
  'connect.terminal': ['From a terminal', '터미널에서'],
  'connect.this': ['This connection', '지금 연결'],
  'connect.encrypted': ['Encrypted.', '암호화되어 있습니다.'],
  'connect.plain': ['Not encrypted: others on the network can read it.',
    '암호화되지 않아 같은 네트워크의 다른 사람이 읽을 수 있습니다.'],
  'connect.details': ['Details', '자세히'],
  'connect.protocol': ['Protocol', '프로토콜'],
  'connect.peer': ['Your address', '내 주소'],
  'connect.rtt': ['Round trip', '왕복 시간'],
  'connect.rate': ['Rate', '속도'],
  'connect.fingerprint': ['Fingerprint of the certificate: compare it with the one that the server '
    + 'prints.', '인증서 지문: 서버가 출력한 것과 비교하세요.'],
  'share.link': ['Link', '링크'],
  'share.once': ['Copy it now: it is not shown again.',
    '지금 복사하세요. 다시 보여 주지 않습니다.'],
  'share.created': ['Link created', '링크를 만들었습니다'],
  'share.expires': ['Expires after', '만료'],
  'share.size': ['All files together', '전체 크기'],
  'share.files': ['Number of files', '파일 수'],
  'share.file': ['Link to this file', '이 파일의 링크'],
  'share.file.note': ['Anyone with the link can download {name}, and nothing else.',
    '링크가 있으면 누구나 {name}만 내려받을 수 있습니다.'],
  'share.make.file': ['Create link', '링크 만들기'],
  'share.drop': ['Drop box', '파일 받는 링크'],
  'share.drop.note': [
    'Anyone with the link can send files into a new folder here, but cannot see them.',
    '링크가 있으면 누구나 여기 새 폴더로 파일을 보낼 수 있지만 파일을 볼 수는 없습니다.'],
  'share.make.drop': ['Create drop box', '파일 받는 링크 만들기'],
  'share.active': ['Links that work now', '지금 쓸 수 있는 링크'],
  'share.of': ['File', '파일'],
  'share.until': ['ends {time}', '{time} 만료'],
  'share.used': ['{n} {n?file:files}, {size}', '파일 {n}개, {size}'],
  'share.unfinished': ['{n} unfinished, {size}', '미완료 {n}개, {size}'],
  'share.revoke': ['Revoke', '링크 끊기'],
  'share.revoke.sure': ['Revoke now', '정말 끊기'],
  'share.revoked': ['{name} is revoked', '{name} 링크를 끊었습니다'],
};

/** @type {'en' | 'ko'} */
export let language = read();

/** @returns {'en' | 'ko'} */
function read() {
  let kept = null;
  try {
    kept = localStorage.getItem('anyport-language');
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  return (kept ?? document.documentElement.lang).startsWith('ko') ? 'ko' : 'en';
}

/** Chooses the language; the views are built again by the listener of `language` on document.
 * @param {'en' | 'ko'} chosen */
export function setLanguage(chosen) {
  language = chosen;
  try {
    localStorage.setItem('anyport-language', chosen);
  } catch {
    // As above.
  }
  document.documentElement.lang = chosen;
  document.dispatchEvent(new Event('language'));
}

/**
 * Returns a text in the chosen language.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const text = words[key]?.[language === 'ko' ? 1 : 0] ?? key;
  return text.replace(/\{(\w+)(?:\?([^:}]*):([^}]*))?\}/g, (_, name, one, many) => {
    const value = values[name] ?? '';
    return one === undefined ? String(value) : String(value) === '1' ? one : many;
  });
}

//! Real proxies in front of a server: haproxy and nginx.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::process::peer;
use super::waiting::{skip, wait_until};

/// A real proxy, ended when dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// Where clients connect.
    pub address: SocketAddr,
    _scratch: TempDir,
}

impl Proxy {
    /// Starts it on a port that was free a moment ago, as it cannot say which one it got.
    fn start(command: impl FnOnce(&Path, SocketAddr) -> Command) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = command(scratch.path(), address);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("a proxy", || TcpStream::connect(address).ok());
        Self { child, address, _scratch: scratch }
    }

    /// Starts haproxy, with the lines of its one proxy besides those of its addresses, and the
    /// options of its server.
    pub fn haproxy(to: u16, lines: &str, options: &str) -> Option<Self> {
        peer("haproxy")?;
        Some(Self::start(|scratch, address| {
            let config = scratch.join("haproxy.cfg");
            let text = format!(
                "defaults\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
                 listen anyport\n {lines}\n bind {address}\n server s 127.0.0.1:{to} {options}\n"
            );
            std::fs::write(&config, text).unwrap();
            let mut haproxy = Command::new("haproxy");
            haproxy.arg("-db").arg("-f").arg(config);
            haproxy
        }))
    }

    /// Starts nginx with its stream module.
    pub fn nginx_stream(to: u16) -> Option<Self> {
        peer("nginx")?;
        let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
        if !module.exists() {
            skip("no stream module of nginx");
            return None;
        }
        Some(Self::nginx(|path, address| {
            let module = module.display();
            format!(
                "load_module {module}; events {{}}
                 stream {{ server {{ listen {address}; proxy_pass 127.0.0.1:{to};
                   proxy_protocol on; error_log {path}/error.log; }} }}"
            )
        }))
    }

    /// Starts nginx as a reverse proxy for HTTP, which keeps connections to the server open.
    pub fn nginx_http(to: u16) -> Option<Self> {
        Self::nginx_with(|address| {
            format!(
                "map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
                   upstream anyport {{ server 127.0.0.1:{to}; keepalive 1; }}
                   server {{ listen {address};
                     location / {{ proxy_pass http://anyport; proxy_http_version 1.1;
                       proxy_request_buffering off; proxy_buffering off;
                       proxy_set_header Upgrade $http_upgrade;
                       proxy_set_header Connection $connection_upgrade;
                       proxy_set_header Forwarded '';
                       proxy_set_header X-Forwarded-For $remote_addr;
                       proxy_set_header X-Forwarded-Proto $scheme;
                       proxy_set_header X-Forwarded-Host $http_host; }} }}"
            )
        })
    }

    /// Starts nginx for HTTP, with the block `server` of this address, and blocks beside it.
    pub fn nginx_with(server: impl FnOnce(SocketAddr) -> String) -> Option<Self> {
        peer("nginx")?;
        Some(Self::nginx(|path, address| {
            let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let places = places.map(|place| format!("{place}_temp_path {path}/{place};")).concat();
            let server = server(address);
            format!(
                "events {{}}
                 http {{ access_log off; {places} client_max_body_size 0; {server} }}"
            )
        }))
    }

    /// Returns its address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of a path, which has no slash at its beginning.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn nginx(config: impl FnOnce(&str, SocketAddr) -> String) -> Self {
        Self::start(|scratch, address| {
            let path = scratch.to_str().unwrap();
            // Its workers would not be let into our directory, if it is started by root.
            let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
            let config = config(path, address);
            let file = scratch.join("nginx.conf");
            let text = format!(
                "{config} daemon off; master_process off; {user} pid {path}/pid;
                 error_log {path}/error.log;"
            );
            std::fs::write(&file, text).unwrap();
            let mut nginx = Command::new("nginx");
            nginx.arg("-c").arg(file).args(["-e", &format!("{path}/error.log")]);
            nginx
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

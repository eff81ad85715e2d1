# Untested on macOS and on Homebrew: only its syntax is checked, and anyport runs on Linux only.
# url and sha256 are those of the source archive of a release (dist/SHA256SUMS).
class Anyport < Formula
  desc "File and message server for mixed clients on one port"
  homepage "https://github.com/anyport/anyport"
  url "https://github.com/anyport/anyport/releases/download/v0.1.0/anyport-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "MIT"

  depends_on "rust" => :build
  depends_on :linux

  def install
    system "cargo", "install", *std_cargo_args(path: "crates/cli")
    generate_completions_from_executable(bin/"anyport", "completions")
    system bin/"anyport", "man", "--dir", man1
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/anyport --version")
    port = free_port
    pid = spawn bin/"anyport", "serve", testpath/"inbox", "--port", port.to_s
    sleep 2
    (testpath/"file").write "content"
    system bin/"anyport", "send", testpath/"file", "tcp://127.0.0.1:#{port}/"
    assert_equal "content", (testpath/"inbox/file").read
  ensure
    Process.kill "TERM", pid if pid
  end
end

# Untested on NixOS: only its syntax is checked. In a clone of the repository:
#   nix-build -E '(import <nixpkgs> { }).callPackage ./packaging/nix/anyport.nix { }'
{ lib, rustPlatform, installShellFiles }:

rustPlatform.buildRustPackage {
  pname = "anyport";
  version = "0.1.0";

  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;
  cargoBuildFlags = [ "--package" "anyport" ];
  # The tests start servers and clients that a sandbox does not have; scripts/test runs them.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    $out/bin/anyport man --dir man
    installManPage man/*.1
    for shell in bash zsh fish; do
      $out/bin/anyport completions $shell > anyport.$shell
    done
    installShellCompletion anyport.{bash,zsh,fish}
  '';

  meta = {
    description = "File and message server for mixed clients on one port";
    homepage = "https://github.com/anyport/anyport";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "anyport";
  };
}

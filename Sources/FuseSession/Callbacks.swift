import CFuse
import Filesystem

/// The table through which CFuse calls a `FuseConnection`.
///
/// Formed in a function of the file, and not where a session is made: a closure made on the main actor would belong to
/// it, and trap on a worker.
func makeCallbacks() -> waysfs_callbacks {
  waysfs_callbacks(
    lookup: { on($0).lookup($1, $2, $3) },
    forget: { on($0).forget($1, UnsafeBufferPointer(start: $2, count: $3)) },
    get_attributes: { on($0).getAttributes($1, $2, handle($3)) },
    set_attributes: { on($0).setAttributes($1, $2, $3.pointee, handle($4)) },
    read_link: { on($0).readLink($1, $2) },
    make_node: { on($0).makeNode($1, $2, $3, $4) },
    make_directory: { on($0).makeDirectory($1, $2, $3, $4) },
    make_link: { on($0).makeLink($1, $2, $3, $4) },
    unlink: { on($0).unlink($1, $2, $3) },
    remove_directory: { on($0).removeDirectory($1, $2, $3) },
    rename: { on($0).rename($1, $2, $3, $4, $5, $6) },
    open: { on($0).open($1, $2, $3) },
    create: { on($0).create($1, $2, $3, $4, $5) },
    read: { on($0).read($1, $2, $3, $4) },
    write: { on($0).write($1, $2, $3, UnsafeRawBufferPointer(start: $4, count: $5), isWriteback: $6) },
    flush: { on($0).flush($1, $2) },
    sync: { on($0).sync($1, $2) },
    release: { on($0).release($1, $2) },
    open_directory: { on($0).openDirectory($1, $2) },
    read_directory: { on($0).readDirectory($1, $2, $3, $4, $5) },
    sync_directory: { on($0).syncDirectory($1, $2) },
    release_directory: { on($0).releaseDirectory($1, $2) },
    statistics: { on($0).statistics($1, $2) },
    get_attribute: { on($0).getAttribute($1, $2, $3, $4) },
    list_attributes: { on($0).listAttributes($1, $2, $3) },
    access: { on($0).access($1, $2, $3) },
    warm: { on($0).warm($1, $2, $3, $4) },
    interrupted: { on($0).noteInterrupt($1) },
    deliver_interrupts: { on($0).deliverInterrupts() })
}

/// The connection a callback is for; it lives at least until the workers have ended.
private func on(_ context: UnsafeMutableRawPointer) -> FuseConnection {
  Unmanaged<FuseConnection>.fromOpaque(context).takeUnretainedValue()
}

private func handle(_ pointer: UnsafePointer<UInt64>?) -> HandleID? {
  pointer.map { HandleID($0.pointee) }
}

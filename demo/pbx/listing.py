"""How Asterisk's CLI prints channels."""

from demo.pbx.channels import STATES, Channel
from demo.pbx.profiles import Profile


def concise(channel: Channel, profile: Profile, now: float) -> str:
    """Its line of `core show channels concise`: 14 fields, nothing escaped."""
    bridge = channel.bridge
    if profile.old:
        bridge = channel.peer.name if channel.peer else "(None)"
    fields = (
        channel.name,
        channel.context,
        channel.exten,
        str(channel.priority),
        channel.state,
        channel.app or "(None)",
        channel.data,
        channel.caller,
        "",
        "",
        "3",
        str(int(now - channel.born)),
        bridge,
        channel.uniqueid,
    )
    return "!".join(fields) + "\n"


def list_bridges(channels: list[Channel], profile: Profile, now: float) -> str:
    """What `bridge show all` prints; of 13 it was not recorded, and is told as 16 does.

    A bridge is here as old as the youngest channel in it.
    """
    name = ("<unknown>",) if profile.technology == "PJSIP" else ()
    row = "{:<36} " + "{:<36} " * len(name) + "{:>5} {:<15} {:<15} {}\n"
    text = row.format(
        "Bridge-ID", *("Name",) * len(name), "Chans", "Type", "Technology", "Duration"
    )
    for bridge in dict.fromkeys(channel.bridge for channel in channels if channel.bridge):
        within = [channel for channel in channels if channel.bridge == bridge]
        age = int(now - max(channel.born for channel in within))
        lasted = f"{age // 3600:02}:{age // 60 % 60:02}:{age % 60:02}"
        text += row.format(bridge, *name, len(within), "basic", "simple_bridge", lasted)
    return text


def describe(channel: Channel, profile: Profile, now: float) -> str:
    """What `core show channel NAME` prints, without its variables and CDR fields."""
    native, rate = "slin" if channel.is_local else "ulaw", "" if profile.old else "@8000"
    transcode = ("No ", "No ")
    if native == "ulaw":
        transcode = (f"Yes (slin{rate})->(ulaw{rate})", f"Yes (ulaw{rate})->(slin{rate})")
    elapsed = int(now - channel.born)
    hours, minutes, seconds = elapsed // 3600, elapsed // 60 % 60, elapsed % 60
    rings = frames = blocking = streams = ""
    bridge = f"      Bridge ID: {channel.bridge or '(Not bridged)'}\n"
    if profile.old:
        peer = channel.peer.name if channel.peer else "<none>"
        rings = "          Rings: 0\n"
        descriptor = -1 if channel.is_local else 23
        frames = f"1st File Descriptor: {descriptor}\n      Frames in: 0\n     Frames out: 0\n"
        bridge = f"  Direct Bridge: {peer}\nIndirect Bridge: {peer}\n"
        blocking = "    Blocking in: ast_waitfor_nandfds\n"
    elif not profile.source:
        streams = f""" -- Streams --
Name: audio-0
    Type: audio
    State: sendrecv
    Group: -1
    Formats: ({native})
    Metadata:

"""
    identifier = "Call Identifier" if profile.technology == "PJSIP" else "Call Identifer"
    in_dialplan = profile.old or not channel.is_local
    number = int(channel.linkedid.partition(".")[2])
    return f""" -- General --
           Name: {channel.name}
           Type: {channel.name.partition("/")[0]}
       UniqueID: {channel.uniqueid}
       LinkedID: {channel.linkedid}
      Caller ID: {channel.caller or "(N/A)"}
 Caller ID Name: (N/A)
Connected Line ID: {channel.connected or "(N/A)"}
Connected Line ID Name: (N/A)
Eff. Connected Line ID: {channel.connected or "(N/A)"}
Eff. Connected Line ID Name: (N/A)
    DNID Digits: (N/A)
       Language: en
          State: {channel.state} ({STATES[channel.state]})
{rings}  NativeFormats: ({native})
    WriteFormat: slin
     ReadFormat: slin
 WriteTranscode: {transcode[0]}
  ReadTranscode: {transcode[1]}
{frames} Time to Hangup: 0
   Elapsed Time: {hours}h{minutes}m{seconds}s
{bridge} --   PBX   --
        Context: {channel.context}
      Extension: {channel.exten}
       Priority: {channel.priority}
     Call Group: 0
   Pickup Group: 0
    Application: {channel.app or "(None)"}
           Data: {channel.data or "(None)"}
{blocking} {identifier}: {f"[C-{number:08x}]" if in_dialplan else "(None)"}
      Variables:
  CDR Variables:

{streams}"""

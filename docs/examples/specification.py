# Python пример
import httpx

async def make_call_from_bot(extension: str, phone: str, client_secret: str):
    async with httpx.AsyncClient() as client:
        response = await client.get(
            "https://<HOST>/api/makecallexternal",
            params={
                "code": extension,
                "phone": phone,
                "clientId": client_secret
            }
        )
        return response.json()
